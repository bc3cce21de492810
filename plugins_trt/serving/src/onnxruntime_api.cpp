#include "onnxruntime_api.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstdlib>
#include <vector>

namespace deployrec {
namespace {

// The oldest version of the interface that holds all that is called here.
constexpr uint32_t kApiVersion = 12;
constexpr const char* kVariable = "DEPLOYREC_ONNXRUNTIME_LIBRARY";

std::vector<std::string> candidates(const std::string& library) {
  if (!library.empty()) return {library};
  std::vector<std::string> paths;
  if (const char* named = std::getenv(kVariable)) return {named};
#if defined(DEPLOYREC_ONNXRUNTIME_LIBRARY)
  paths.emplace_back(DEPLOYREC_ONNXRUNTIME_LIBRARY);
#endif
  paths.emplace_back("libonnxruntime.so.1");
  paths.emplace_back("libonnxruntime.so");
  return paths;
}

}  // namespace

Status OnnxRuntime::open(const std::string& library, std::shared_ptr<OnnxRuntime>* runtime) {
  std::string reason;
  void* opened = nullptr;
  for (const std::string& path : candidates(library)) {
    opened = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (opened != nullptr) break;
    if (const char* error = dlerror(); reason.empty() && error != nullptr) reason = error;
  }
  if (opened == nullptr) {
    return {StatusCode::kFile, "expected ONNX Runtime's library; got " + reason +
                                   "; pip install onnxruntime, and set Options::onnxruntime_library or " + kVariable +
                                   " to its capi/libonnxruntime.so.*"};
  }
  // The library stays open: its threads and the process's exit use it.
  const auto base = reinterpret_cast<const OrtApiBase*(ORT_API_CALL*)()>(dlsym(opened, "OrtGetApiBase"));
  const OrtApi* api = base == nullptr ? nullptr : base()->GetApi(kApiVersion);
  if (api == nullptr) {
    return {StatusCode::kFile, "expected ONNX Runtime 1." + std::to_string(kApiVersion) + " or newer; got " +
                                   (base == nullptr ? "another library" : base()->GetVersionString()) +
                                   "; install a newer one"};
  }
  std::shared_ptr<OnnxRuntime> made(new OnnxRuntime);
  made->api_ = api;
  // Errors come back as statuses; what the log would print says no more.
  Status status = made->check(api->CreateEnv(ORT_LOGGING_LEVEL_FATAL, "deployrec", &made->env_), "start");
  if (status.ok()) {
    status = made->check(api->CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &made->host_), "start");
  }
  if (status.ok()) *runtime = std::move(made);
  return status;
}

OnnxRuntime::~OnnxRuntime() {
  if (host_ != nullptr) api_->ReleaseMemoryInfo(host_);
  if (env_ != nullptr) api_->ReleaseEnv(env_);
}

Status OnnxRuntime::check(OrtStatus* status, const std::string& what, StatusCode code) const {
  if (status == nullptr) return {};
  std::string said = api_->GetErrorMessage(status);
  api_->ReleaseStatus(status);
  std::replace(said.begin(), said.end(), '\n', ' ');
  return {code, "expected ONNX Runtime to " + what + "; got " + said + "; check the bundle and the provider"};
}

}  // namespace deployrec
