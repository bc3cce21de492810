// CPU build of the gated recurrent unit: the CUDA kernel's slices and sums, row after row, on host memory.
#include <algorithm>
#include <new>
#include <vector>

#include "kernels/gru_recurrence_thread.h"

namespace deployrec {
namespace {

// The four lanes' partial sums, added in the order in which the device exchanges them.
template <class Element>
Gates dot_products(const GruArgs<Element>& args, int unit, const std::vector<float>& state) {
  Gates partial[kSlices] = {};
  for (int slice = 0; slice < kSlices; ++slice) {
    for (int chunk = 0; chunk < count_chunks(args.dim); ++chunk) {
      const int column = quad_column(chunk, slice);
      Pack<float, kQuad> weight[3];
      for (int gate = 0; gate < 3; ++gate) weight[gate] = widen(load_weight(args, gate, unit, column));
      Pack<float, kQuad> quad;
      std::copy_n(state.begin() + column, kQuad, quad.lane);
      accumulate(partial[slice], weight, quad);
    }
  }
  Gates total;
  for (int gate = 0; gate < 3; ++gate) {
    total.of[gate] = (partial[0].of[gate] + partial[2].of[gate]) + (partial[1].of[gate] + partial[3].of[gate]);
  }
  return total;
}

template <class Element>
void run_row(const GruArgs<Element>& args, int64_t row) {
  std::vector<float> now(static_cast<size_t>(count_chunks(args.dim) * kChunkColumns));
  std::copy_n(args.initial_state + row * args.dim, args.dim, now.begin());
  std::vector<float> next = now;
  const int64_t steps = row_steps(args, row);
  for (int64_t t = 0; t < args.time; ++t) {
    Element* hidden = args.hidden + (row * args.time + t) * args.dim;
    for (int unit = 0; unit < args.dim; ++unit) {
      if (t < steps) {
        next[unit] = gru_update(load_gates(args, row, t, unit), dot_products(args, unit, now), now[unit]);
      }
      hidden[unit] = from_float<Element>(next[unit]);
    }
    now = next;
  }
  std::copy_n(now.begin(), args.dim, args.final_state + row * args.dim);
}

}  // namespace

const char* gru_recurrence(const GruRecurrence& problem, void* /* stream */) noexcept {
  try {
    with_element(problem.type, [&](auto element) {
      const auto args = make_args<decltype(element)>(problem);
      for (int64_t row = 0; row < args.batch; ++row) run_row(args, row);
    });
  } catch (const std::bad_alloc&) {
    return "out of memory";
  }
  return nullptr;
}

}  // namespace deployrec
