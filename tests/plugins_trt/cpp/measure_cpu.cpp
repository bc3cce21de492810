#include <cstdio>

#include "measure.h"

namespace deployrec::test {

void print_measurements(Runner& /* runner */) { std::printf("--measure needs the CUDA build\n"); }

}  // namespace deployrec::test
