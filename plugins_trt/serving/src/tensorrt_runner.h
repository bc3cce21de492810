// The Runner of a TensorRT plan.
#pragma once

#include <NvInferRuntime.h>

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <tuple>
#include <vector>

#include "cuda_device.h"
#include "deployrec/options.h"
#include "runner.h"

namespace deployrec {

// Keeps what TensorRT says instead of printing it, for the message of the Status. TensorRT may say it from any thread.
class ErrorLog final : public nvinfer1::ILogger {
 public:
  void log(Severity severity, const char* message) noexcept override;
  std::string take();

 private:
  std::mutex mutex_;
  std::string last_;
};

class TensorRtRunner final : public Runner {
 public:
  // The plan of `graph` in Options::plans. An encode plan's Options::plugin_library is loaded into TensorRT's registry
  // first unless it is empty. `state_order`: names of the states as users' records hold them; empty: by name.
  static Status load(const Options& options, Graph graph,
                     const std::vector<std::string>& state_order, std::shared_ptr<CudaDevice> device,
                     std::unique_ptr<Runner>* runner);
  ~TensorRtRunner() override;

  const EngineShape& shape() const override { return shape_; }
  Status run(const EngineMemory& memory, const RunSize& size) override;

 private:
  // A context keeps its shapes, k among them: a CUDA graph that was recorded with it stays valid.
  struct Context {
    std::unique_ptr<nvinfer1::IExecutionContext> context;
    int64_t batch = 0;
    int64_t time = 0;
    int64_t k = 0;  // TensorRT reads it here, in the host's memory, at every run
  };

  explicit TensorRtRunner(std::shared_ptr<CudaDevice> device) : device_(std::move(device)) {}
  Graph graph() const { return shape_.name.graph; }
  const char* items_name() const { return graph() == Graph::kEncode ? "item_ids" : "item_id"; }
  Status read_shape(const std::string& plan, Graph wanted, const std::vector<std::string>& state_order);
  Status check_tensors(const std::string& plan) const;
  Status read_states(const std::string& plan, const std::vector<std::string>& order);
  Status context_for(const RunSize& size, Context** context);
  Status set_shapes(Context& context, const RunSize& size);
  Status bind(Context& context, const EngineMemory& memory);

  std::shared_ptr<CudaDevice> device_;
  ErrorLog log_;
  std::unique_ptr<nvinfer1::IRuntime> runtime_;
  std::unique_ptr<nvinfer1::ICudaEngine> engine_;
  EngineShape shape_;
  DeviceMemory activations_;  // shared by all contexts: they run one after another
  std::map<std::tuple<int64_t, int64_t, int64_t>, Context> contexts_;  // by batch, k and E; an encode engine has two
};

}  // namespace deployrec
