// CUDA kernel of the gated recurrent unit for few rows or wide ones (for others see gru_tensor_cores.cuh): a block owns
// a few rows and walks their time with h in shared memory.
//
// Four lanes share a unit, four rows at a time: each lane sums its slice for all four rows, the lanes exchange partial
// sums so that each ends with one row's, and each then updates that row. The recurrent weight is read every step; it
// lies in registers (dim <= 64), in shared memory, or, where it does not fit, in the level 2 cache.
#include <cuda_runtime_api.h>

#include "kernels/gru_tensor_cores.cuh"
#include "kernels/gru_weights.cuh"

namespace deployrec {
namespace {

constexpr unsigned kWholeWarp = 0xffffffffU;
constexpr int kMostThreads = 512;
constexpr int kRowsPerPass = kSlices;
// Steps by which the gates' cache lines are asked for ahead of their use.
constexpr int kPrefetchSteps = 4;

// Chunks that a lane reads of each row of h: those of dim, or all that a fixed loop goes over.
template <class Weights>
__host__ __device__ int chunks_read(int dim) {
  return Weights::kCount > 0 ? Weights::kCount : count_chunks(dim);
}

// Floats from one row of h to the next. The eight extra ones put four rows' same column into different banks.
__host__ __device__ inline int state_stride(int chunks) { return chunks * kChunkColumns + 8; }

size_t state_bytes(int chunks, int rows) {
  return sizeof(float) * 2 * static_cast<size_t>(rows) * static_cast<size_t>(state_stride(chunks));
}

// Sums four lanes' partial products of four rows; lane `slice` is left with those of row `slice`.
__device__ __forceinline__ Gates sum_slices(const Gates* rows, int slice) {
  Gates total;
  DEPLOYREC_UNROLL
  for (int gate = 0; gate < 3; ++gate) {
    float half[2];
    DEPLOYREC_UNROLL
    for (int i = 0; i < 2; ++i) {
      const float low = rows[i].of[gate];
      const float high = rows[i + 2].of[gate];
      const float sent = (slice & 2) != 0 ? low : high;
      half[i] = ((slice & 2) != 0 ? high : low) + __shfl_xor_sync(kWholeWarp, sent, 2);
    }
    const float sent = (slice & 1) != 0 ? half[0] : half[1];
    total.of[gate] = ((slice & 1) != 0 ? half[1] : half[0]) + __shfl_xor_sync(kWholeWarp, sent, 1);
  }
  return total;
}

__device__ __forceinline__ void prefetch(const void* address) {
#if defined(__CUDA_ARCH__)
  asm volatile("prefetch.global.L2 [%0];" ::"l"(address));
#else
  static_cast<void>(address);
#endif
}

template <class Element>
__device__ __forceinline__ void prefetch_gates(const GruArgs<Element>& args, int64_t row, int64_t t, int unit) {
  const Element* address = args.gates + (row * args.time + t) * 3 * args.dim + unit;
  DEPLOYREC_UNROLL
  for (int gate = 0; gate < 3; ++gate) {
    prefetch(address + static_cast<int64_t>(gate) * args.dim);
  }
}

template <int kRows>
__device__ __forceinline__ void add_products(Gates (&sums)[kRows], const Pack<float, kQuad> (&weight)[3],
                                             const float* state, int stride) {
  DEPLOYREC_UNROLL
  for (int r = 0; r < kRows; ++r) {
    accumulate(sums[r], weight, *reinterpret_cast<const Pack<float, kQuad>*>(state + r * stride));
  }
}

template <class Element, class Weights, int kPasses>
__global__ void __launch_bounds__(Weights::kCount > 0 ? 256 : kMostThreads, Weights::kCount > 0 ? 2 : 1)
    gru_kernel(GruArgs<Element> args) {
  constexpr int kRows = kPasses * kRowsPerPass;
  extern __shared__ __align__(16) unsigned char shared[];
  const int chunks = chunks_read<Weights>(args.dim);
  const int stride = state_stride(chunks);
  float* state = reinterpret_cast<float*>(shared);  // [2][kRows][stride]: read one, write the other
  const int slice = static_cast<int>(threadIdx.x) % kSlices;
  const int first_unit = static_cast<int>(threadIdx.x) / kSlices;
  const int unit_step = static_cast<int>(blockDim.x) / kSlices;
  const int64_t first_row = static_cast<int64_t>(blockIdx.x) * kRows;

  for (int i = static_cast<int>(threadIdx.x); i < 2 * kRows * stride; i += static_cast<int>(blockDim.x)) {
    const int64_t row = first_row + i / stride;
    const int unit = i % stride;
    const bool is_start = i < kRows * stride && row < args.batch && unit < args.dim;
    state[i] = is_start ? args.initial_state[row * args.dim + unit] : 0.0F;
  }
  Weights weights;
  weights.prepare(args, state + 2 * kRows * stride, first_unit, slice);
  int64_t steps[kPasses];  // of the rows this lane updates
  int64_t most_steps = 0;  // of the block's rows
  DEPLOYREC_UNROLL
  for (int pass = 0; pass < kPasses; ++pass) steps[pass] = row_steps(args, first_row + pass * kRowsPerPass + slice);
  for (int r = 0; r < kRows; ++r) most_steps = max(most_steps, row_steps(args, first_row + r));
  __syncthreads();

  for (int64_t t = 0; t < most_steps; ++t) {
    const float* now = state + (t & 1) * kRows * stride;
    float* next = state + ((t + 1) & 1) * kRows * stride;
    for (int unit = first_unit; unit < padded_units(args.dim); unit += unit_step) {
      Gates input[kPasses] = {};
      DEPLOYREC_UNROLL
      for (int pass = 0; pass < kPasses; ++pass) {
        const int64_t row = first_row + pass * kRowsPerPass + slice;
        if (unit >= args.dim || t >= steps[pass]) continue;
        input[pass] = load_gates(args, row, t, unit);
        if (t + kPrefetchSteps < steps[pass]) prefetch_gates(args, row, t + kPrefetchSteps, unit);
      }
      Gates sums[kRows] = {};
      Pack<float, kQuad> weight[3];
      if constexpr (Weights::kCount > 0) {
        DEPLOYREC_UNROLL
        for (int chunk = 0; chunk < Weights::kCount; ++chunk) {
          weights.get(args, chunk, unit, slice, weight);
          add_products(sums, weight, now + quad_column(chunk, slice), stride);
        }
      } else {
        for (int chunk = 0; chunk < chunks; ++chunk) {
          weights.get(args, chunk, unit, slice, weight);
          add_products(sums, weight, now + quad_column(chunk, slice), stride);
        }
      }
      DEPLOYREC_UNROLL
      for (int pass = 0; pass < kPasses; ++pass) {
        const Gates product = sum_slices(sums + pass * kRowsPerPass, slice);
        const int r = pass * kRowsPerPass + slice;
        if (unit >= args.dim || first_row + r >= args.batch) continue;
        const float before = now[r * stride + unit];
        const float after = t < steps[pass] ? gru_update(input[pass], product, before) : before;
        next[r * stride + unit] = after;
        store_streaming<Element, 1>(args.hidden + ((first_row + r) * args.time + t) * args.dim + unit,
                                    {from_float<Element>(after)});
      }
    }
    __syncthreads();
  }

  const float* last = state + (most_steps & 1) * kRows * stride;
  for (int i = static_cast<int>(threadIdx.x); i < kRows * args.dim; i += static_cast<int>(blockDim.x)) {
    const int64_t row = first_row + i / args.dim;
    const int unit = i % args.dim;
    if (row >= args.batch) continue;
    const float kept = last[i / args.dim * stride + unit];
    args.final_state[row * args.dim + unit] = kept;
    for (int64_t t = most_steps; t < args.time; ++t) {
      args.hidden[(row * args.time + t) * args.dim + unit] = from_float<Element>(kept);
    }
  }
}

// Allows the kernel all that a block may have. One value whatever the width: threads that launch different widths set it
// at the same time.
template <class Kernel>
cudaError_t allow_shared_memory(Kernel* kernel) {
  int device = 0, most = 0;
  cudaFuncAttributes attributes{};
  cudaError_t error = cudaGetDevice(&device);
  if (error == cudaSuccess) error = cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
  if (error == cudaSuccess) error = cudaFuncGetAttributes(&attributes, kernel);
  if (error != cudaSuccess) return error;
  return cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                              most - static_cast<int>(attributes.sharedSizeBytes));
}

template <class Element, class Kernel>
const char* launch(Kernel* kernel, int rows, int threads, size_t bytes, const GruArgs<Element>& args,
                   cudaStream_t stream) {
  const int64_t blocks = (args.batch + rows - 1) / rows;
  if (blocks > 2147483647) return "the batch is too large for one launch";
  cudaError_t error = allow_shared_memory(kernel);
  if (error != cudaSuccess) return cudaGetErrorString(error);
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(blocks));
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.dynamicSmemBytes = bytes;
  config.stream = stream;
  error = cudaLaunchKernelEx(&config, kernel, args);
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

template <class Weights, int kPasses, class Element>
const char* launch_rows(const GruArgs<Element>& args, size_t weight_bytes, cudaStream_t stream) {
  constexpr int kRows = kPasses * kRowsPerPass;
  const int threads = min(padded_units(args.dim) * kSlices, kMostThreads);
  const size_t bytes = state_bytes(chunks_read<Weights>(args.dim), kRows) + weight_bytes;
  return launch(gru_kernel<Element, Weights, kPasses>, kRows, threads, bytes, args, stream);
}

template <int kChunks, int kTiles, int kStages, class Element>
const char* launch_tensor_cores(const GruArgs<Element>& args, cudaStream_t stream) {
  const TensorCoreBlock<Element, kChunks, kTiles, kStages> block(args.dim);
  return launch(gru_tensor_core_kernel<Element, kChunks, kTiles, kStages>, kTileRows, block.threads,
                block.bytes, args, stream);
}

template <class Element>
const char* select(const GruArgs<Element>& args, cudaStream_t stream) {
  int device = 0;
  int multiprocessors = 0;
  int most_shared = 0;
  cudaError_t error = cudaGetDevice(&device);
  if (error == cudaSuccess) error = cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device);
  if (error == cudaSuccess)
    error = cudaDeviceGetAttribute(&most_shared, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
  if (error != cudaSuccess) return cudaGetErrorString(error);
  if (args.batch == 0 || args.dim == 0) return nullptr;

  // Few rows are spread thinly over the multiprocessors; more of them share a block's products.
  const int64_t one_pass_rows = static_cast<int64_t>(multiprocessors) * kRowsPerPass;
  if (args.dim <= 64) {
    if (args.batch > 2 * one_pass_rows) return launch_tensor_cores<4, 1, 4>(args, stream);
    if (args.dim <= 32) return launch_rows<InRegisters<Element, 2>, 1>(args, 0, stream);
    return launch_rows<InRegisters<Element, 4>, 1>(args, 0, stream);
  }
  const auto fits = [&](int passes, size_t weights) {
    return weights + state_bytes(count_chunks(args.dim), passes * kRowsPerPass) <= static_cast<size_t>(most_shared);
  };
  const size_t weight_bytes = shared_weight_bytes<Element>(args.dim);
  if (args.dim <= kMostThreads / kSlices) {
    const size_t bytes = TensorCoreBlock<Element, 8, 2, 3>(args.dim).bytes;
    if ((args.batch > one_pass_rows || !fits(1, weight_bytes)) && bytes <= static_cast<size_t>(most_shared)) {
      return launch_tensor_cores<8, 2, 3>(args, stream);
    }
    if (fits(1, weight_bytes)) return launch_rows<InShared<Element>, 1>(args, weight_bytes, stream);
  }
  if (args.batch > one_pass_rows && fits(4, 0)) return launch_rows<InGlobal<Element>, 4>(args, 0, stream);
  if (fits(1, 0)) return launch_rows<InGlobal<Element>, 1>(args, 0, stream);
  return "the state is too wide for this device's shared memory";
}

}  // namespace

const char* gru_recurrence(const GruRecurrence& problem, void* stream) noexcept {
  return with_element(problem.type, [&](auto element) {
    return select(make_args<decltype(element)>(problem), static_cast<cudaStream_t>(stream));
  });
}

}  // namespace deployrec
