// Times the recurrences on large shapes and prints one line of JSON. A CPU build has nothing to measure.
#pragma once

#include "recurrence_runner.h"

namespace deployrec::test {

void print_measurements(Runner& runner);

}  // namespace deployrec::test
