// Arithmetic of the gated recurrent unit that the CUDA kernels and the CPU build share.
//
// A unit's three dot products over h are split between kSlices neighbouring lanes. Lane s takes the quads of columns
// that start at 4 * (4 * chunk + s): the four lanes then read 16 neighbouring columns at once.
#pragma once

#include <math.h>

#include "kernels/element.h"
#include "kernels/gru_recurrence.h"

namespace deployrec {

constexpr int kSlices = 4;
constexpr int kQuad = 4;
constexpr int kChunkColumns = kSlices * kQuad;

template <class Element>
struct GruArgs {
  const Element* gates;
  const Element* weight;
  const float* initial_state;
  const int64_t* lengths;
  Element* hidden;
  float* final_state;
  int64_t batch, time;
  int dim;
  bool quads_aligned;  // rows of `weight` can be read in packs of kQuad
  bool pairs_aligned;  // events of `gates` and `hidden` can be read and written two units at a time
};

template <class Element>
GruArgs<Element> make_args(const GruRecurrence& problem) {
  const bool aligned = problem.dim % kQuad == 0 && is_aligned(problem.recurrent_weight, sizeof(Pack<Element, kQuad>));
  const bool paired = problem.dim % 2 == 0 && is_aligned(problem.gates, sizeof(Pack<Element, 2>)) &&
                      is_aligned(problem.hidden, sizeof(Pack<Element, 2>));
  return {static_cast<const Element*>(problem.gates),
          static_cast<const Element*>(problem.recurrent_weight),
          problem.initial_state,
          problem.lengths,
          static_cast<Element*>(problem.hidden),
          problem.final_state,
          problem.batch,
          problem.time,
          static_cast<int>(problem.dim),
          aligned,
          paired};
}

DEPLOYREC_HD int count_chunks(int dim) { return (dim + kChunkColumns - 1) / kChunkColumns; }

DEPLOYREC_HD int quad_column(int chunk, int slice) { return (chunk * kSlices + slice) * kQuad; }

// Steps of a row that count; rows outside the batch have none.
template <class Element>
DEPLOYREC_HD int64_t row_steps(const GruArgs<Element>& args, int64_t row) {
  if (row >= args.batch) return 0;
  const int64_t length = args.lengths[row];
  return length < 0 ? 0 : length < args.time ? length : args.time;
}

// Weights of one gate of `unit` for the quad at `column`; zeros where the weight has none.
template <class Element>
DEPLOYREC_HD Pack<Element, kQuad> load_weight(const GruArgs<Element>& args, int gate, int unit, int column) {
  Pack<Element, kQuad> quad;
  const Element* address = args.weight + (static_cast<int64_t>(gate) * args.dim + unit) * args.dim + column;
  if (args.quads_aligned && unit < args.dim && column < args.dim) {
    return *reinterpret_cast<const Pack<Element, kQuad>*>(address);
  }
  DEPLOYREC_UNROLL
  for (int i = 0; i < kQuad; ++i) {
    quad.lane[i] = unit < args.dim && column + i < args.dim ? address[i] : from_float<Element>(0.0F);
  }
  return quad;
}

template <class Element>
DEPLOYREC_HD Pack<float, kQuad> widen(const Pack<Element, kQuad>& quad) {
  Pack<float, kQuad> wide;
  DEPLOYREC_UNROLL
  for (int i = 0; i < kQuad; ++i) wide.lane[i] = to_float(quad.lane[i]);
  return wide;
}

// One value for each of the gates r, z, n.
struct Gates {
  float of[3];
};

DEPLOYREC_HD void accumulate(Gates& sums, const Pack<float, kQuad> (&weight)[3], const Pack<float, kQuad>& state) {
  DEPLOYREC_UNROLL
  for (int gate = 0; gate < 3; ++gate) {
    DEPLOYREC_UNROLL
    for (int i = 0; i < kQuad; ++i) sums.of[gate] = fmaf(weight[gate].lane[i], state.lane[i], sums.of[gate]);
  }
}

// The input products of `unit` at step t of a row.
template <class Element>
DEPLOYREC_HD Gates load_gates(const GruArgs<Element>& args, int64_t row, int64_t t, int unit) {
  const Element* address = args.gates + (row * args.time + t) * 3 * args.dim + unit;
  Gates gates;
  DEPLOYREC_UNROLL
  for (int gate = 0; gate < 3; ++gate) {
    gates.of[gate] = to_float(load_streaming<Element, 1>(address + static_cast<int64_t>(gate) * args.dim).lane[0]);
  }
  return gates;
}

// 1 / (1 + e^-x). The device's fast exponential and division err by a few 1e-7 here, whatever x.
DEPLOYREC_HD float sigmoid(float x) {
#if defined(__CUDA_ARCH__)
  return __fdividef(1.0F, 1.0F + __expf(-x));
#else
  return 1.0F / (1.0F + expf(-x));
#endif
}

DEPLOYREC_HD float gru_update(const Gates& input, const Gates& product, float state) {
  const float reset = sigmoid(input.of[0] + product.of[0]);
  const float update = sigmoid(input.of[1] + product.of[1]);
  const float candidate = 2.0F * sigmoid(2.0F * (input.of[2] + reset * product.of[2])) - 1.0F;  // tanh
  return candidate + update * (state - candidate);
}

}  // namespace deployrec
