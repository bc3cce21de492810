// What the two engines do, apart from CUDA and TensorRT: check ids, claim slots, run waves and stretches.
#pragma once

#include "batch_runner.h"
#include "deployrec/serving.h"

namespace deployrec {

Status run_step(BatchRunner& runner, const Event* events, size_t count, Recommendations* recommendations);

Status run_encode(BatchRunner& runner, const History* histories, size_t count, Recommendations* recommendations);

}  // namespace deployrec
