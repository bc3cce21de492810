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

// Read once a step by every block: worth it where several rows share the read. One unit a thread, as in registers.
template <class Element>
struct InShared {
  static constexpr int kCount = 0;
  Pack<Element, kQuad>* weight;  // [chunk][gate][thread]: a warp reads neighbouring quads

  __device__ static int place(int chunk, int gate) {
    return (chunk * 3 + gate) * static_cast<int>(blockDim.x) + static_cast<int>(threadIdx.x);
  }
  __device__ void prepare(const GruArgs<Element>& args, void* memory, int unit, int slice) {
    weight = static_cast<Pack<Element, kQuad>*>(memory);
    for (int chunk = 0; chunk < count_chunks(args.dim); ++chunk) {
      for (int gate = 0; gate < 3; ++gate) {
        weight[place(chunk, gate)] = load_weight(args, gate, unit, quad_column(chunk, slice));
      }
    }
  }
  __device__ void get(const GruArgs<Element>&, int chunk, int, int, Pack<float, kQuad> (&out)[3]) const {
    DEPLOYREC_UNROLL
    for (int gate = 0; gate < 3; ++gate) out[gate] = widen(weight[place(chunk, gate)]);
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
size_t shared_weight_bytes(int dim) {
  return sizeof(Pack<Element, kQuad>) * 3 * static_cast<size_t>(count_chunks(dim) * padded_units(dim) * kSlices);
}

}  // namespace deployrec
