// The Runner of a TensorRT plan.
#pragma once

#include <NvInferRuntime.h>

#include <map>
#include <memory>
#include <string>

#include "cuda_device.h"
#include "runner.h"

namespace deployrec {

// Keeps what TensorRT says instead of printing it, for the message of the Status.
class ErrorLog final : public nvinfer1::ILogger {
 public:
  void log(Severity severity, const char* message) noexcept override;
  std::string take();

 private:
  std::string last_;
};

class TensorRtRunner final : public Runner {
 public:
  // `plugin_library` is loaded into TensorRT's registry first unless it is empty.
  static Status load(const std::string& plan, const std::string& plugin_library, std::shared_ptr<CudaDevice> device,
                     std::unique_ptr<Runner>* runner);
  ~TensorRtRunner() override;

  const EngineShape& shape() const override { return shape_; }
  Status run(const EngineMemory& memory, int64_t batch, int64_t time) override;

 private:
  // A context keeps its shapes: a CUDA graph that was recorded with it stays valid.
  struct Context {
    std::unique_ptr<nvinfer1::IExecutionContext> context;
    int64_t batch = 0;
    int64_t time = 0;
  };

  explicit TensorRtRunner(std::shared_ptr<CudaDevice> device) : device_(std::move(device)) {}
  Status read_shape(const std::string& plan);
  Status read_states();
  Status context_for(int64_t batch, Context** context);
  Status set_shapes(Context& context, int64_t batch, int64_t time, int64_t exclude_width);
  Status bind(nvinfer1::IExecutionContext& context, const EngineMemory& memory);

  std::shared_ptr<CudaDevice> device_;
  ErrorLog log_;
  std::unique_ptr<nvinfer1::IRuntime> runtime_;
  std::unique_ptr<nvinfer1::ICudaEngine> engine_;
  EngineShape shape_;
  DeviceMemory activations_;  // shared by all contexts: they run one after another
  std::map<int64_t, Context> contexts_;
};

}  // namespace deployrec
