// Runs a .cu file's kernels on the CPU, a thread for a thread: barriers, shuffles and dynamic shared memory as on a
// GPU. Include it before the .cu file, and say DEPLOYREC_EMULATED_SHARED in the kernel's namespace after it.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime_api.h>
#include <pthread.h>
#include <sanitizer/asan_interface.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <memory>
#include <thread>
#include <vector>

// The headers define these for nvcc; here a kernel is a function.
#undef __global__
#undef __device__
#undef __host__
#undef __forceinline__
#undef __shared__
#undef __align__
#undef __launch_bounds__
#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __shared__
#define __align__(bytes)
#define __launch_bounds__(...)
#define DEPLOYREC_EMULATED

namespace deployrec {

inline thread_local dim3 threadIdx, blockIdx;
inline dim3 blockDim;

namespace emulation {

class Barrier {
 public:
  explicit Barrier(unsigned threads) { pthread_barrier_init(&barrier_, nullptr, threads); }
  ~Barrier() { pthread_barrier_destroy(&barrier_); }
  Barrier(const Barrier&) = delete;
  Barrier& operator=(const Barrier&) = delete;
  void wait() { pthread_barrier_wait(&barrier_); }

 private:
  pthread_barrier_t barrier_;
};

struct Block {
  Barrier all;
  std::vector<std::unique_ptr<Barrier>> warps;
  std::vector<float> exchanged;
  std::vector<std::array<unsigned, 6>> fragments;

  explicit Block(unsigned threads) : all(threads), exchanged(threads), fragments(threads) {
    for (unsigned first = 0; first < threads; first += 32) warps.push_back(std::make_unique<Barrier>(32));
  }
};

inline Block* block = nullptr;
inline unsigned char* shared_memory = nullptr;
inline size_t shared_size = 0;
// What the emulated device has.
inline int multiprocessors = 1;
inline int most_shared = 0;

template <class Work>
void run_grid(const cudaLaunchConfig_t& config, Work work) {
  const unsigned threads = config.blockDim.x;
  blockDim = config.blockDim;
  for (unsigned b = 0; b < config.gridDim.x; ++b) {
    Block current(threads);
    block = &current;
    std::fill_n(shared_memory, shared_size, static_cast<unsigned char>(0xff));  // NaN, until it is written
    ASAN_POISON_MEMORY_REGION(shared_memory + config.dynamicSmemBytes, shared_size - config.dynamicSmemBytes);
    std::vector<std::thread> running;
    for (unsigned t = 0; t < threads; ++t) {
      running.emplace_back([&, t] {
        threadIdx = dim3(t);
        blockIdx = dim3(b);
        work();
      });
    }
    for (std::thread& each : running) each.join();
    ASAN_UNPOISON_MEMORY_REGION(shared_memory, shared_size);
  }
}

// One value of a fragment's words, two fp16 values each.
inline float half_of(unsigned word, int place) {
  __half_raw raw;
  raw.x = static_cast<unsigned short>(word >> (16 * place));
  return __half2float(__half(raw));
}

// mma.m16n8k16 as PTX's manual lays its fragments out: sums [16, 8] += a [16, 16] b [16, 8].
inline void multiply(float (&sums)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  Barrier& warp = *block->warps[threadIdx.x / 32];
  block->fragments[threadIdx.x] = {a[0], a[1], a[2], a[3], b[0], b[1]};
  warp.wait();
  const auto* lanes = block->fragments.data() + threadIdx.x / 32 * 32;
  const int lane = static_cast<int>(threadIdx.x % 32);
  for (int at = 0; at < 4; ++at) {
    const int row = lane / 4 + at / 2 * 8;
    const int column = lane % 4 * 2 + at % 2;
    for (int depth = 0; depth < 16; ++depth) {
      const int holder = depth % 8 / 2;
      const unsigned left = lanes[row % 8 * 4 + holder][static_cast<size_t>(row / 8 + depth / 8 * 2)];
      const unsigned right = lanes[column * 4 + holder][static_cast<size_t>(4 + depth / 8)];
      sums[at] += half_of(left, depth % 2) * half_of(right, depth % 2);
    }
  }
  warp.wait();
}

}  // namespace emulation

inline void __syncthreads() { deployrec::emulation::block->all.wait(); }

inline float __shfl_xor_sync(unsigned /* mask */, float value, int lanes) {
  deployrec::emulation::Block& block = *deployrec::emulation::block;
  deployrec::emulation::Barrier& warp = *block.warps[threadIdx.x / 32];
  block.exchanged[threadIdx.x] = value;
  warp.wait();
  const float received = block.exchanged[threadIdx.x ^ static_cast<unsigned>(lanes)];
  warp.wait();
  return received;
}

using std::max;
using std::min;

// The runtime's functions that a launch calls.

template <class Kernel>
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, Kernel) {
  *attributes = {};
  return cudaSuccess;
}
template <class Kernel>
cudaError_t cudaFuncSetAttribute(Kernel, cudaFuncAttribute, int bytes) {
  return bytes <= emulation::most_shared ? cudaSuccess : cudaErrorInvalidValue;
}
template <class Kernel, class Args>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, Kernel kernel, const Args& args) {
  if (config->blockDim.x % 32 != 0) return cudaErrorInvalidConfiguration;
  emulation::run_grid(*config, [&] { kernel(args); });
  return cudaSuccess;
}

}  // namespace deployrec

extern "C" {

inline cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int /* device */) {
  namespace emulation = deployrec::emulation;
  *value = attribute == cudaDevAttrMultiProcessorCount ? emulation::multiprocessors : emulation::most_shared;
  return cudaSuccess;
}
inline const char* cudaGetErrorString(cudaError_t) { return "the emulated device refused"; }

}  // extern "C"

#define DEPLOYREC_EMULATED_SHARED(bytes) alignas(16) unsigned char shared[bytes]
