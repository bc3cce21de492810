// How the driver starts a recurrence: straight through the kernels' functions, or through a plugin object's enqueue.
#pragma once

#include <memory>
#include <string>

#include "kernels/gru_recurrence.h"
#include "kernels/linear_recurrence.h"

namespace deployrec::test {

class Runner {
 public:
  virtual ~Runner() = default;
  // Both return nullptr, or what went wrong.
  virtual const char* run(const LinearRecurrence& problem, void* workspace) = 0;
  virtual const char* run(const GruRecurrence& problem) = 0;
};

// `library` is the plugin library; the runner of the kernels' functions ignores it.
std::unique_ptr<Runner> make_runner(const std::string& library);

}  // namespace deployrec::test
