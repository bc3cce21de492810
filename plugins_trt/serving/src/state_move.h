// Moves states between the arena (a row per slot, fp32 or fp16) and the engine's tensors (a row per batch entry, fp32).
#pragma once

#include <cstdint>

#include "kernels/element.h"

namespace deployrec {

constexpr int kMostStates = 32;

// One state tensor's place in an arena row, and the engine's buffer [batch, count].
struct StateSegment {
  int64_t offset;
  int64_t count;
  float* tensor;
};

// Small enough to be a kernel's argument.
struct StateMove {
  void* arena;  // [slots, row_values]
  int64_t row_values;
  bool is_half;
  const int64_t* slots;  // [batch]
  int64_t batch;
  int segments;
  StateSegment segment[kMostStates];
};

DEPLOYREC_HD void gather_value(const StateMove& move, int64_t row, int segment, int64_t i) {
  const StateSegment& s = move.segment[segment];
  const int64_t from = move.slots[row] * move.row_values + s.offset + i;
  s.tensor[row * s.count + i] = move.is_half ? to_float(static_cast<const Float16*>(move.arena)[from])
                                             : static_cast<const float*>(move.arena)[from];
}

DEPLOYREC_HD void scatter_value(const StateMove& move, int64_t row, int segment, int64_t i) {
  const StateSegment& s = move.segment[segment];
  const int64_t to = move.slots[row] * move.row_values + s.offset + i;
  const float value = s.tensor[row * s.count + i];
  if (move.is_half) {
    static_cast<Float16*>(move.arena)[to] = from_float<Float16>(value);
  } else {
    static_cast<float*>(move.arena)[to] = value;
  }
}

}  // namespace deployrec
