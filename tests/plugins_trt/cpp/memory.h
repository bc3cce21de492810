// Memory that the library under test works on: the device's, or the host's for a CPU build.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <vector>

#if !DEPLOYREC_CPU
#include <cuda_runtime_api.h>
#endif

namespace deployrec::test {

#if DEPLOYREC_CPU

// Exactly as large as asked for, so that AddressSanitizer sees a step beyond either end.
class Buffer {
 public:
  explicit Buffer(size_t bytes) : bytes_(bytes) {}
  void* get() { return bytes_.empty() ? nullptr : bytes_.data(); }
  void upload(const void* from, size_t bytes) {
    if (bytes != 0) std::memcpy(get(), from, bytes);
  }
  void download(void* to, size_t bytes) {
    if (bytes != 0) std::memcpy(to, get(), bytes);
  }

 private:
  std::vector<unsigned char> bytes_;
};

inline void synchronize() {}

#else

inline void require(cudaError_t error) {
  if (error == cudaSuccess) return;
  std::printf("CUDA: %s\n", cudaGetErrorString(error));
  std::exit(1);
}

class Buffer {
 public:
  explicit Buffer(size_t bytes) {
    if (bytes != 0) require(cudaMalloc(&memory_, bytes));
  }
  ~Buffer() { cudaFree(memory_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  void* get() { return memory_; }
  void upload(const void* from, size_t bytes) { require(cudaMemcpy(memory_, from, bytes, cudaMemcpyHostToDevice)); }
  void download(void* to, size_t bytes) { require(cudaMemcpy(to, memory_, bytes, cudaMemcpyDeviceToHost)); }

 private:
  void* memory_ = nullptr;
};

inline void synchronize() { require(cudaDeviceSynchronize()); }

#endif

}  // namespace deployrec::test
