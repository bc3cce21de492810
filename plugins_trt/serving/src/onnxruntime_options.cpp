#include "onnxruntime_options.h"

namespace deployrec {
namespace {

Status append_tensorrt(const OnnxRuntime& runtime, const char* device, OrtSessionOptions* made) {
  const OrtApi& api = runtime.api();
  OrtOwned<OrtTensorRTProviderOptionsV2> provider(api.ReleaseTensorRTProviderOptions);
  const char* const keys[] = {"device_id"};
  const char* const values[] = {device};
  Status status = runtime.check(api.CreateTensorRTProviderOptions(provider.out()), "have the TensorRT provider");
  if (status.ok()) {
    status = runtime.check(api.UpdateTensorRTProviderOptions(provider.get(), keys, values, 1), "take the device");
  }
  if (!status.ok()) return status;
  return runtime.check(api.SessionOptionsAppendExecutionProvider_TensorRT_V2(made, provider.get()),
                       "load the TensorRT provider");
}

Status append_cuda(const OnnxRuntime& runtime, const char* device, OrtSessionOptions* made) {
  const OrtApi& api = runtime.api();
  OrtOwned<OrtCUDAProviderOptionsV2> provider(api.ReleaseCUDAProviderOptions);
  // TF32 products keep 10 bits of a float32: graphs would miss their own certificate.
  const char* const keys[] = {"device_id", "use_tf32"};
  const char* const values[] = {device, "0"};
  Status status = runtime.check(api.CreateCUDAProviderOptions(provider.out()), "have the CUDA provider");
  if (status.ok()) {
    status = runtime.check(api.UpdateCUDAProviderOptions(provider.get(), keys, values, 2), "take the device");
  }
  if (!status.ok()) return status;
  return runtime.check(api.SessionOptionsAppendExecutionProvider_CUDA_V2(made, provider.get()),
                       "load the CUDA provider");
}

}  // namespace

Status make_session_options(const OnnxRuntime& runtime, const Options& options, bool is_large,
                            OrtOwned<OrtSessionOptions>* made) {
  const OrtApi& api = runtime.api();
  const std::string device = std::to_string(options.device);
  Status status = runtime.check(api.CreateSessionOptions(made->out()), "make options");
  if (status.ok()) status = runtime.check(api.SetIntraOpNumThreads(made->get(), options.threads), "take threads");
  if (status.ok()) status = runtime.check(api.SetInterOpNumThreads(made->get(), 1), "take threads");
  if (status.ok()) {
    status = runtime.check(api.SetSessionLogSeverityLevel(made->get(), ORT_LOGGING_LEVEL_FATAL), "be quiet");
  }
  if (status.ok() && is_large) {
    status = runtime.check(api.AddSessionConfigEntry(made->get(), "session.disable_prepacking", "1"),
                           "read the item table in place");
  }
  if (status.ok() && options.provider == Provider::kTensorRt) {
    status = append_tensorrt(runtime, device.c_str(), made->get());
  }
  if (status.ok() && options.provider != Provider::kCpu) status = append_cuda(runtime, device.c_str(), made->get());
  return status;
}

}  // namespace deployrec
