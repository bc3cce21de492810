// h_t = a_t * h_{t-1} + b_t over a batch of sequences, every channel on its own.
#pragma once

#include <cstdint>

#include "kernels/chunk_plan.h"
#include "kernels/element.h"

namespace deployrec {

struct LinearRecurrence {
  ElementType type;  // of a, b and hidden; the states are always fp32
  int64_t batch;
  int64_t time;
  int64_t dim;
  const void* a;               // [batch, time, dim]
  const void* b;               // [batch, time, dim]
  const float* initial_state;  // [batch, dim]
  void* hidden;                // [batch, time, dim]
  float* final_state;          // [batch, dim]
};

// Starts the recurrence on `stream` (a cudaStream_t; the CPU build works at once, on host memory, and ignores it).
// `workspace` holds linear_recurrence_workspace_bytes(). Returns nullptr, or what went wrong. It neither allocates nor
// waits, so a CUDA graph can capture it.
const char* linear_recurrence(const LinearRecurrence& problem, void* workspace, void* stream) noexcept;

}  // namespace deployrec
