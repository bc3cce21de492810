// Runs the kernels' functions directly: needs no TensorRT.
#include "recurrence_runner.h"

namespace deployrec::test {
namespace {

class KernelRunner final : public Runner {
 public:
  const char* run(const LinearRecurrence& problem, void* workspace) override {
    return linear_recurrence(problem, workspace, nullptr);
  }
  const char* run(const GruRecurrence& problem) override { return gru_recurrence(problem, nullptr); }
};

}  // namespace

std::unique_ptr<Runner> make_runner(const std::string& /* library */) { return std::make_unique<KernelRunner>(); }

}  // namespace deployrec::test
