// Moves states between the arena (a row of bytes per slot, each tensor fp32 or fp16) and the engine's tensors (a row
// per batch entry, fp32).
#pragma once

#include <cstdint>

#include "half.h"

namespace deployrec {

// State tensors of a model.
constexpr int kMostStates = 32;

// One tensor's place in an arena row, and the engine's buffer [batch, count].
struct StateSegment {
  int64_t offset;  // bytes
  int64_t count;
  bool is_half;
  float* tensor;
};

// Small enough to be a kernel's argument. The user vector has a segment too.
struct StateMove {
  unsigned char* arena;  // [slots, row_bytes]
  int64_t row_bytes;
  const int64_t* slots;  // [batch]
  int64_t batch;
  int segments;
  StateSegment segment[kMostStates + 1];
};

DEPLOYREC_ANYWHERE void gather_value(const StateMove& move, int64_t row, int segment, int64_t i) {
  const StateSegment& s = move.segment[segment];
  const unsigned char* from = move.arena + move.slots[row] * move.row_bytes + s.offset;
  s.tensor[row * s.count + i] =
      s.is_half ? half_to_float(reinterpret_cast<const Half*>(from)[i]) : reinterpret_cast<const float*>(from)[i];
}

DEPLOYREC_ANYWHERE void scatter_value(const StateMove& move, int64_t row, int segment, int64_t i) {
  const StateSegment& s = move.segment[segment];
  unsigned char* to = move.arena + move.slots[row] * move.row_bytes + s.offset;
  const float value = s.tensor[row * s.count + i];
  if (s.is_half) {
    reinterpret_cast<Half*>(to)[i] = float_to_half(value);
  } else {
    reinterpret_cast<float*>(to)[i] = value;
  }
}

}  // namespace deployrec
