// What every call of the serving library returns instead of throwing.
#pragma once

#include <string>
#include <utility>

#define DEPLOYREC_CXX_API __attribute__((visibility("default")))

namespace deployrec {

enum class StatusCode {
  kOk,
  kInvalidArgument,  // an id or size out of range; nothing was changed
  kFile,             // a file could not be read or written
  kWrongEngine,      // a plan of another bundle or another graph, or an engine that this build leaves out
  kMissingPlan,      // the call needs a plan that was not loaded; nothing was changed
  kStaleState,       // states of another state_id
  kFull,             // no slot left for a new user; nothing was changed
  kDevice,           // CUDA, TensorRT or ONNX Runtime failed; the states of the users in this call are undefined
  kOutOfMemory,
};

// A code, and for every code but kOk one line that says what was expected, what came and what to do.
class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(StatusCode code, std::string message) : code_(code), message_(std::move(message)) {}

  bool ok() const noexcept { return code_ == StatusCode::kOk; }
  StatusCode code() const noexcept { return code_; }
  const std::string& message() const noexcept { return message_; }

 private:
  StatusCode code_ = StatusCode::kOk;
  std::string message_;
};

}  // namespace deployrec
