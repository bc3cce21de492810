// CUDA kernel of the gated recurrent unit for many rows: a block walks the time of 16 of them on tensor cores.
//
// A warp owns the three gates of 8 * kTiles units; their weights stay in its registers. Weights and h are sums of two
// fp16 values, and three products of these (high by high, high by low, low by high) keep 22 bits of each factor, nearly
// all of fp32's, for values up to 65504. Each thread keeps its share of h in fp32 and hands it to the others through a
// double-buffered tile, so that a step has one barrier. The gates are on their way kStages - 1 steps ahead.
#pragma once

#include <cuda_runtime_api.h>

#include <type_traits>

#include "kernels/gru_recurrence_thread.h"

namespace deployrec {
namespace {

constexpr int kTileRows = 16;   // of a product: [16, 16] by [16, 8]
constexpr int kTileDepth = 16;  // units that it sums over
constexpr int kTileUnits = 8;
constexpr int kWarp = 32;
constexpr float kLargest = 65504.0F;

// 32-bit words, two units each, from one row of h to the next: eight rows' same word lie in different banks.
__host__ __device__ constexpr int row_words(int chunks) { return chunks * kTileDepth / 2 + 4; }

// fp16 values of two neighbours, and those of what is left of them.
struct Halves {
  unsigned high, low;
};

__device__ __forceinline__ unsigned bits(__half2 pair) {
  unsigned word;
  memcpy(&word, &pair, sizeof(word));
  return word;
}

__device__ __forceinline__ Halves split(float first, float second) {
  first = fminf(fmaxf(first, -kLargest), kLargest);
  second = fminf(fmaxf(second, -kLargest), kLargest);
  const __half2 high = __floats2half2_rn(first, second);
  const float2 rounded = __half22float2(high);
  return {bits(high), bits(__floats2half2_rn(first - rounded.x, second - rounded.y))};
}

// sums += a b: lane 4 i + j holds rows i and i + 8 of a and column i of b, at depths 2 j, 2 j + 1, 2 j + 8 and 2 j + 9,
// and of the sums rows i and i + 8 at columns 2 j and 2 j + 1 (PTX: mma.m16n8k16).
__device__ __forceinline__ void multiply(float (&sums)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
#if defined(__CUDA_ARCH__)
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#elif defined(DEPLOYREC_EMULATED)
  emulation::multiply(sums, a, b);
#else
  static_cast<void>(sums), static_cast<void>(a), static_cast<void>(b);
#endif
}

// Copies a pair without waiting for it; without the alignment for that, or at the last of an odd number, at once.
template <class Element>
__device__ __forceinline__ void copy_ahead(Pack<Element, 2>* to, const Element* from, int count, bool aligned) {
#if defined(__CUDA_ARCH__)
  if (aligned && count == 2) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2;" ::"r"(static_cast<unsigned>(__cvta_generic_to_shared(to))),
                 "l"(from), "n"(sizeof(*to))
                 : "memory");
    return;
  }
#endif
  static_cast<void>(aligned);
  DEPLOYREC_UNROLL
  for (int i = 0; i < 2; ++i) {
    if (i < count) to->lane[i] = from[i];
  }
}

__device__ __forceinline__ void end_group() {
#if defined(__CUDA_ARCH__)
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Waits for this thread's copies, but for those of the newest groups.
template <int kNewest>
__device__ __forceinline__ void wait_for_groups() {
#if defined(__CUDA_ARCH__)
  asm volatile("cp.async.wait_group %0;" ::"n"(kNewest) : "memory");
#endif
}

template <class Element>
__device__ __forceinline__ void store_pair(Element* to, const float (&values)[2], int count, bool aligned) {
  const Pack<Element, 2> pair = {from_float<Element>(values[0]), from_float<Element>(values[1])};
  if (aligned && count == 2) {
    *reinterpret_cast<Pack<Element, 2>*>(to) = pair;
    return;
  }
  DEPLOYREC_UNROLL
  for (int i = 0; i < 2; ++i) {
    if (i < count) to[i] = pair.lane[i];
  }
}

// kChunks: of the depth, dim <= 16 * kChunks; kTiles: of eight units, in a warp.
template <class Element, int kChunks, int kTiles, int kStages>
__global__ void __launch_bounds__(256, kTiles == 1 ? 2 : 1) gru_tensor_core_kernel(GruArgs<Element> args) {
  constexpr int kParts = std::is_same_v<Element, Float16> ? 1 : 2;  // fp16 weights are their own high part
  constexpr int kWords = row_words(kChunks);
  constexpr int kPlane = kTileRows * kWords;
  extern __shared__ __align__(16) unsigned char shared[];
  auto* tile = reinterpret_cast<unsigned*>(shared);  // [2 buffers][high, low][kTileRows][kWords]
  auto* staged = reinterpret_cast<Pack<Element, 2>*>(tile + 4 * kPlane) + threadIdx.x;
  const int threads = static_cast<int>(blockDim.x);
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int row = lane / 4;    // and row + 8
  const int pair = lane % 4;   // of units
  const int first_tile = static_cast<int>(threadIdx.x) / kWarp * kTiles;
  const int64_t first_row = static_cast<int64_t>(blockIdx.x) * kTileRows;
  const auto unit_of = [&](int i) { return (first_tile + i) * kTileUnits + 2 * pair; };
  const auto count_of = [&](int i) { return max(0, min(2, args.dim - unit_of(i))); };

  unsigned weight[kTiles][3][kChunks][kParts][2];
  DEPLOYREC_UNROLL
  for (int i = 0; i < kTiles; ++i) {
    const int unit = (first_tile + i) * kTileUnits + row;
    DEPLOYREC_UNROLL
    for (int at = 0; at < 3 * kChunks * 2; ++at) {
      const int gate = at / (2 * kChunks), chunk = at / 2 % kChunks, half = at % 2;
      const int depth = chunk * kTileDepth + 2 * pair + 8 * half;
      const Element* from = args.weight + (static_cast<int64_t>(gate) * args.dim + unit) * args.dim + depth;
      const bool exists = unit < args.dim;
      const Halves parts = split(exists && depth < args.dim ? to_float(from[0]) : 0.0F,
                                 exists && depth + 1 < args.dim ? to_float(from[1]) : 0.0F);
      weight[i][gate][chunk][0][half] = parts.high;
      if constexpr (kParts == 2) weight[i][gate][chunk][1][half] = parts.low;
    }
  }

  const int64_t rows[2] = {first_row + row, first_row + row + 8};
  const int64_t steps[2] = {row_steps(args, rows[0]), row_steps(args, rows[1])};
  int64_t most_steps = 0;
  for (int r = 0; r < kTileRows; ++r) most_steps = max(most_steps, row_steps(args, first_row + r));

  for (int i = static_cast<int>(threadIdx.x); i < 4 * kPlane; i += threads) tile[i] = 0;
  __syncthreads();
  float state[kTiles][2][2] = {};
  const auto share = [&](int i, int half, unsigned* to) {
    const Halves parts = split(state[i][half][0], state[i][half][1]);
    const int at = (row + 8 * half) * kWords + unit_of(i) / 2;
    to[at] = parts.high;
    to[kPlane + at] = parts.low;
  };
  const auto ask = [&](int64_t t) {
    DEPLOYREC_UNROLL
    for (int i = 0; i < kTiles; ++i) {
      DEPLOYREC_UNROLL
      for (int half = 0; half < 2; ++half) {
        if (t >= steps[half]) continue;
        const Element* from = args.gates + (rows[half] * args.time + t) * 3 * args.dim + unit_of(i);
        DEPLOYREC_UNROLL
        for (int gate = 0; gate < 3; ++gate) {
          auto* to = staged + static_cast<int>((t % kStages * kTiles + i) * 6 + half * 3 + gate) * threads;
          copy_ahead(to, from + gate * args.dim, count_of(i), args.pairs_aligned);
        }
      }
    }
    end_group();
  };
  DEPLOYREC_UNROLL
  for (int i = 0; i < kTiles; ++i) {
    DEPLOYREC_UNROLL
    for (int half = 0; half < 2; ++half) {
      DEPLOYREC_UNROLL
      for (int each = 0; each < 2; ++each) {
        const bool exists = rows[half] < args.batch && each < count_of(i);
        state[i][half][each] = exists ? args.initial_state[rows[half] * args.dim + unit_of(i) + each] : 0.0F;
      }
      share(i, half, tile);
    }
  }
  for (int t = 0; t < kStages - 1; ++t) ask(t);
  __syncthreads();

  for (int64_t t = 0; t < most_steps; ++t) {
    const unsigned* now = tile + (t & 1) * 2 * kPlane + row * kWords + pair;
    unsigned* next = tile + ((t + 1) & 1) * 2 * kPlane;
    ask(t + kStages - 1);
    float sums[kTiles][3][4] = {};
    DEPLOYREC_UNROLL
    for (int chunk = 0; chunk < kChunks; ++chunk) {
      DEPLOYREC_UNROLL
      for (int low = 0; low < 2; ++low) {
        const unsigned* from = now + low * kPlane + chunk * kTileDepth / 2;
        const unsigned h[4] = {from[0], from[8 * kWords], from[4], from[8 * kWords + 4]};
        DEPLOYREC_UNROLL
        for (int part = 0; part < (low ? 1 : kParts); ++part) {
          DEPLOYREC_UNROLL
          for (int at = 0; at < 3 * kTiles; ++at) {
            multiply(sums[at / 3][at % 3], h, weight[at / 3][at % 3][chunk][part]);
          }
        }
      }
    }
    wait_for_groups<kStages - 1>();
    DEPLOYREC_UNROLL
    for (int i = 0; i < kTiles; ++i) {
      DEPLOYREC_UNROLL
      for (int half = 0; half < 2; ++half) {
        if (t < steps[half]) {
          const auto* input = staged + static_cast<int>((t % kStages * kTiles + i) * 6 + half * 3) * threads;
          DEPLOYREC_UNROLL
          for (int each = 0; each < 2; ++each) {
            Gates gates, product;
            DEPLOYREC_UNROLL
            for (int gate = 0; gate < 3; ++gate) {
              gates.of[gate] = to_float(input[gate * threads].lane[each]);
              product.of[gate] = sums[i][gate][2 * half + each];
            }
            if (each < count_of(i)) state[i][half][each] = gru_update(gates, product, state[i][half][each]);
          }
        }
        if (rows[half] < args.batch) {
          store_pair(args.hidden + (rows[half] * args.time + t) * args.dim + unit_of(i), state[i][half], count_of(i),
                     args.pairs_aligned);
        }
        share(i, half, next);
      }
    }
    __syncthreads();
  }

  DEPLOYREC_UNROLL
  for (int i = 0; i < kTiles; ++i) {
    DEPLOYREC_UNROLL
    for (int half = 0; half < 2; ++half) {
      if (rows[half] >= args.batch) continue;
      store_pair(args.final_state + rows[half] * args.dim + unit_of(i), state[i][half], count_of(i), false);
      for (int64_t t = most_steps; t < args.time; ++t) {
        store_pair(args.hidden + (rows[half] * args.time + t) * args.dim + unit_of(i), state[i][half], count_of(i),
                   args.pairs_aligned);
      }
    }
  }
}

// How a block of `dim` units runs: threads, and bytes of shared memory.
template <class Element, int kChunks, int kTiles, int kStages>
struct TensorCoreBlock {
  int threads;
  size_t bytes;

  explicit TensorCoreBlock(int dim)
      : threads((dim + kTileUnits * kTiles - 1) / (kTileUnits * kTiles) * kWarp),
        bytes(sizeof(unsigned) * 4 * kTileRows * row_words(kChunks) +
              sizeof(Pack<Element, 2>) * kStages * kTiles * 6 * static_cast<size_t>(threads)) {}
};

}  // namespace
}  // namespace deployrec
