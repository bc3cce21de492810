// How the C interface answers: a code, and the line behind it for the calling thread.
#pragma once

#include <exception>
#include <string>

#include "deployrec/status.h"

namespace deployrec {

// Of the calling thread.
std::string& last_error();

inline int answer(const Status& status) noexcept {
  try {
    if (!status.ok()) last_error() = status.message();
  } catch (const std::exception&) {  // without memory for the text the code alone has to do
  }
  return static_cast<int>(status.code());
}

// Runs `call`; whatever it throws becomes a code.
template <class Call>
int answered(Call call) noexcept {
  try {
    return answer(call());
  } catch (const std::exception&) {
    return static_cast<int>(StatusCode::kOutOfMemory);
  }
}

}  // namespace deployrec
