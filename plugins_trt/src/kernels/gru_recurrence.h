// Gated recurrent unit without biases, reset gate after the product (torch, cuDNN, ONNX linear_before_reset=1):
//   r, z = sigmoid(g + W h);  n = tanh(g_n + r * (W_n h));  h' = (1 - z) n + z h
#pragma once

#include <cstdint>

#include "kernels/element.h"

namespace deployrec {

struct GruRecurrence {
  ElementType type;  // of gates, recurrent_weight and hidden; the states are always fp32
  int64_t batch;
  int64_t time;
  int64_t dim;
  const void* gates;             // [batch, time, 3 * dim] the input products, order r, z, n
  const void* recurrent_weight;  // [3 * dim, dim] torch's weight_hh
  const float* initial_state;    // [batch, dim]
  const int64_t* lengths;        // [batch] steps of each row; from there on the state is kept
  void* hidden;                  // [batch, time, dim]
  float* final_state;            // [batch, dim]
};

// Starts the recurrence on `stream` (a cudaStream_t; the CPU build works at once, on host memory, and ignores it).
// Returns nullptr, or what went wrong. It neither allocates nor waits, so a CUDA graph can capture it.
const char* gru_recurrence(const GruRecurrence& problem, void* stream) noexcept;

}  // namespace deployrec
