// ONNX Runtime's library, opened when it is first needed: its C interface is the same in every release since 1.12, and
// where the library lies (a release, or the pip wheel's onnxruntime/capi) is known at run time only.
#pragma once

#include <onnxruntime_c_api.h>

#include <memory>
#include <string>

#include "deployrec/status.h"

namespace deployrec {

class OnnxRuntime {
 public:
  // `library`: its path; empty: what DEPLOYREC_ONNXRUNTIME_LIBRARY names, then the one that this library was built
  // with, then the system's.
  static Status open(const std::string& library, std::shared_ptr<OnnxRuntime>* runtime);
  ~OnnxRuntime();

  const OrtApi& api() const { return *api_; }
  const OrtEnv* env() const { return env_; }
  const OrtMemoryInfo* host() const { return host_; }

  // Takes the status over.
  Status check(OrtStatus* status, const std::string& what, StatusCode code = StatusCode::kDevice) const;

 private:
  OnnxRuntime() = default;

  const OrtApi* api_ = nullptr;
  OrtEnv* env_ = nullptr;
  OrtMemoryInfo* host_ = nullptr;
};

// What ONNX Runtime made, released with its owner.
template <class Object>
class OrtOwned {
 public:
  using Release = void(ORT_API_CALL*)(Object*);
  explicit OrtOwned(Release release) : release_(release) {}
  OrtOwned(OrtOwned&& other) noexcept : release_(other.release_), object_(other.object_) { other.object_ = nullptr; }
  OrtOwned& operator=(OrtOwned&&) = delete;
  ~OrtOwned() {
    if (object_ != nullptr) release_(object_);
  }
  Object* get() const { return object_; }
  Object** out() { return &object_; }

 private:
  Release release_;
  Object* object_ = nullptr;
};

}  // namespace deployrec
