// CUDA kernels of the linear recurrence: one thread per (row, chunk of time, 16 bytes of channels).
#include <cuda_runtime_api.h>

#include "kernels/linear_recurrence_thread.h"

namespace deployrec {
namespace {

// One warp a block: the few thousand warps of a typical batch then spread evenly over the multiprocessors.
constexpr int kBlock = 32;
// Warps that a batch of 2048 x 128 channels brings per multiprocessor of the largest devices: the registers must allow
// all of them at once. 16-bit elements put twice the channels into a thread.
template <class Element>
constexpr int kResident = sizeof(Element) == 4 ? 16 : 8;
// A grid's first axis; longer ones never fit the memory of a device.
constexpr int64_t kMostBlocks = 2147483647;

template <int kWidth, class Element>
__global__ void __launch_bounds__(kBlock, kResident<Element>) reduce_kernel(LinearRecurrenceArgs<Element> args) {
  reduce_chunk<kWidth>(args, static_cast<int64_t>(blockIdx.x) * kBlock + threadIdx.x);
}

template <int kWidth, class Element>
__global__ void __launch_bounds__(kBlock, kResident<Element>) walk_kernel(LinearRecurrenceArgs<Element> args) {
  walk_chunk<kWidth>(args, static_cast<int64_t>(blockIdx.x) * kBlock + threadIdx.x);
}

template <int kWidth, class Element>
const char* launch(const LinearRecurrenceArgs<Element>& args, cudaStream_t stream) {
  const int64_t threads = args.batch * args.plan.chunks * (args.dim / kWidth);
  const int64_t blocks = (threads + kBlock - 1) / kBlock;
  if (blocks == 0) return nullptr;
  if (blocks > kMostBlocks) return "the batch is too large for one launch";
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(blocks));
  config.blockDim = dim3(kBlock);
  config.stream = stream;
  // Each launch's own error, where cudaGetLastError would tell of any call before.
  cudaError_t error = cudaSuccess;
  if (args.plan.chunks > 1) error = cudaLaunchKernelEx(&config, reduce_kernel<kWidth, Element>, args);
  if (error == cudaSuccess) error = cudaLaunchKernelEx(&config, walk_kernel<kWidth, Element>, args);
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

}  // namespace

const char* linear_recurrence(const LinearRecurrence& problem, void* workspace, void* stream) noexcept {
  return with_element(problem.type, [&](auto element) {
    using Element = decltype(element);
    const LinearRecurrenceArgs<Element> args = make_args<Element>(problem, workspace);
    const auto on = static_cast<cudaStream_t>(stream);
    return takes_full_width<Element>(problem) ? launch<kFullWidth<Element>>(args, on) : launch<1>(args, on);
  });
}

}  // namespace deployrec
