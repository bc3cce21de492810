// CHECK for the test programs: a failed one is printed and makes finish() return 1.
#pragma once

#include <cstdio>

namespace deployrec::test {

inline int& failures() {
  static int count = 0;
  return count;
}

inline int finish(const char* name) {
  std::printf("%s: %s\n", name, failures() == 0 ? "ok" : "FAILED");
  return failures() == 0 ? 0 : 1;
}

}  // namespace deployrec::test

#define CHECK(condition)                                                    \
  do {                                                                      \
    if (!(condition)) {                                                     \
      ++deployrec::test::failures();                                        \
      std::printf("%s:%d: not true: %s\n", __FILE__, __LINE__, #condition); \
    }                                                                       \
  } while (false)
