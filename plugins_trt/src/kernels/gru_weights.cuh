// Where the GRU kernel keeps the recurrent weight: prepare() runs once, get() gives a thread's slice of one chunk.
#pragma once

#include "kernels/gru_recurrence_thread.h"

namespace deployrec {

// Units padded to whole warps.
__host__ __device__ inline int padded_units(int dim) { return (dim + 7) / 8 * 8; }

// The quickest, for dim <= 16 * kChunks: one unit a thread.
template <class Element, int kChunks>
struct InRegisters {
  static constexpr int kCount = kChunks;
  Pack<float, kQuad> weight[kChunks][3];

  __device__ void prepare(const GruArgs<Element>& args, void*, int unit, int slice) {
    DEPLOYREC_UNROLL
    for (int chunk = 0; chunk < kChunks; ++chunk) {
      DEPLOYREC_UNROLL
      for (int gate = 0; gate < 3; ++gate) {
        weight[chunk][gate] = widen(load_weight(args, gate, unit, quad_column(chunk, slice)));
      }
    }
  }
  __device__ void get(const GruArgs<Element>&, int chunk, int, int, Pack<float, kQuad> (&out)[3]) const {
    DEPLOYREC_UNROLL
    for (int gate = 0; gate < 3; ++gate) out[gate] = weight[chunk][gate];
  }
};

// Read once a step by every block: worth it where several rows share the read.
template <class Element>
struct InShared {
  static constexpr int kCount = 0;
  Pack<Element, kQuad>* weight;  // [unit block][chunk][gate][thread]: a warp reads neighbouring quads

  __device__ int place(const GruArgs<Element>& args, int unit, int chunk, int gate) const {
    const int unit_block = unit / static_cast<int>(blockDim.x / kSlices);
    return ((unit_block * count_chunks(args.dim) + chunk) * 3 + gate) * static_cast<int>(blockDim.x) +
           static_cast<int>(threadIdx.x);
  }
  __device__ void prepare(const GruArgs<Element>& args, void* memory, int first_unit, int slice) {
    weight = static_cast<Pack<Element, kQuad>*>(memory);
    for (int unit = first_unit; unit < padded_units(args.dim); unit += static_cast<int>(blockDim.x / kSlices)) {
      for (int chunk = 0; chunk < count_chunks(args.dim); ++chunk) {
        for (int gate = 0; gate < 3; ++gate) {
          weight[place(args, unit, chunk, gate)] = load_weight(args, gate, unit, quad_column(chunk, slice));
        }
      }
    }
  }
  __device__ void get(const GruArgs<Element>& args, int chunk, int unit, int, Pack<float, kQuad> (&out)[3]) const {
    DEPLOYREC_UNROLL
    for (int gate = 0; gate < 3; ++gate) out[gate] = widen(weight[place(args, unit, chunk, gate)]);
  }
};

// Any dim; the level 2 cache holds the weight.
template <class Element>
struct InGlobal {
  static constexpr int kCount = 0;

  __device__ void prepare(const GruArgs<Element>&, void*, int, int) {}
  __device__ void get(const GruArgs<Element>& args, int chunk, int unit, int slice,
                      Pack<float, kQuad> (&out)[3]) const {
    DEPLOYREC_UNROLL
    for (int gate = 0; gate < 3; ++gate) out[gate] = widen(load_weight(args, gate, unit, quad_column(chunk, slice)));
  }
};

template <class Element>
size_t shared_weight_bytes(int dim, int most_threads) {
  const int all_threads = padded_units(dim) * kSlices;
  const int threads = all_threads < most_threads ? all_threads : most_threads;
  const int unit_blocks = (all_threads + threads - 1) / threads;
  return sizeof(Pack<Element, kQuad>) * 3 * static_cast<size_t>(unit_blocks) * static_cast<size_t>(count_chunks(dim)) *
         static_cast<size_t>(threads);
}

}  // namespace deployrec
