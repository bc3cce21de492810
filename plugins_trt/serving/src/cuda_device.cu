#include <algorithm>
#include <string>

#include "cuda_device.h"

namespace deployrec {
namespace {

constexpr unsigned kBlock = 128;
// A grid's second and third axes end here.
constexpr int64_t kMostRows = 65535;

// One block per (state tensor, row); the row's values are neighbours in both memories.
template <bool kGather>
__global__ void move_states(StateMove move, int64_t first_row) {
  const int64_t row = first_row + blockIdx.y;
  const int segment = static_cast<int>(blockIdx.x);
  for (int64_t i = threadIdx.x; i < move.segment[segment].count; i += kBlock) {
    if (kGather) {
      gather_value(move, row, segment, i);
    } else {
      scatter_value(move, row, segment, i);
    }
  }
}

Status check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return {};
  const StatusCode code = error == cudaErrorMemoryAllocation ? StatusCode::kOutOfMemory : StatusCode::kDevice;
  return {code, std::string("expected CUDA to ") + what + "; got " + cudaGetErrorString(error) +
                    "; check the device and its free memory"};
}

template <bool kGather>
Status launch_moves(const StateMove& move, cudaStream_t stream) {
  for (int64_t first = 0; first < move.batch; first += kMostRows) {
    cudaLaunchConfig_t config{};
    config.gridDim = dim3(static_cast<unsigned>(move.segments),
                          static_cast<unsigned>(std::min(kMostRows, move.batch - first)));
    config.blockDim = dim3(kBlock);
    config.stream = stream;
    // Its own error, where cudaGetLastError would tell of any call before.
    const Status status = check(cudaLaunchKernelEx(&config, move_states<kGather>, move, first),
                                kGather ? "gather states" : "scatter states");
    if (!status.ok()) return status;
  }
  return {};
}

// The calling thread uses the device for as long as this lives, then the one that it used before.
class OnDevice {
 public:
  explicit OnDevice(int index) {
    if (cudaGetDevice(&before_) != cudaSuccess) before_ = index;
    cudaSetDevice(index);
  }
  ~OnDevice() { cudaSetDevice(before_); }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;

 private:
  int before_ = 0;
};

}  // namespace

Status CudaDevice::create(int index, void* stream, const Log& log, std::shared_ptr<CudaDevice>* device) {
  std::shared_ptr<CudaDevice> made(new CudaDevice(index, static_cast<cudaStream_t>(stream), log));
  int before = 0;
  Status status = made->select(&before);
  if (status.ok() && made->is_own_stream_) {
    status = check(cudaStreamCreateWithFlags(&made->stream_, cudaStreamNonBlocking), "create a stream");
  }
  if (!status.ok()) return status;
  made->deselect(before);
  *device = std::move(made);
  return {};
}

CudaDevice::~CudaDevice() {
  const OnDevice selected(index_);
  graphs_.for_each([](cudaGraphExec_t graph) { cudaGraphExecDestroy(graph); });
  if (is_own_stream_ && stream_ != nullptr) cudaStreamDestroy(stream_);
}

Status CudaDevice::select(int* before) {
  Status status = check(cudaGetDevice(before), "name the device in use");
  return status.ok() ? check(cudaSetDevice(index_), "select the device") : status;
}

void CudaDevice::deselect(int before) { cudaSetDevice(before); }

Status CudaDevice::allocate(size_t bytes, void** memory) {
  const OnDevice selected(index_);
  return check(cudaMalloc(memory, bytes), "allocate memory");
}

Status CudaDevice::allocate_host(size_t bytes, void** memory) {
  const OnDevice selected(index_);
  return check(cudaMallocHost(memory, bytes), "allocate page-locked memory");
}

void CudaDevice::free(void* memory) {
  const OnDevice selected(index_);
  cudaFree(memory);
}

void CudaDevice::free_host(void* memory) {
  const OnDevice selected(index_);
  cudaFreeHost(memory);
}

Status CudaDevice::upload(void* to, const void* from, size_t bytes) {
  return check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream_), "copy to the device");
}

Status CudaDevice::download(void* to, const void* from, size_t bytes) {
  return check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream_), "copy from the device");
}

Status CudaDevice::fill_zero(void* memory, size_t bytes) {
  return check(cudaMemsetAsync(memory, 0, bytes, stream_), "clear memory");
}

Status CudaDevice::gather(const StateMove& move) { return launch_moves<true>(move, stream_); }

Status CudaDevice::scatter(const StateMove& move) { return launch_moves<false>(move, stream_); }

Status CudaDevice::wait() { return check(cudaStreamSynchronize(stream_), "finish"); }

Status CudaDevice::repeat(const WorkKey& key, const std::function<Status()>& work) {
  const auto done = [&] {
    Status status = work();
    return status.ok() ? wait() : status;
  };
  return graphs_.repeat(
      key, done, [&](cudaGraphExec_t graph) { return check(cudaGraphLaunch(graph, stream_), "launch a graph"); },
      [&](cudaGraphExec_t* graph) { return record(work, graph); });
}

Status CudaDevice::record(const std::function<Status()>& work, cudaGraphExec_t* graph) {
  Status status = check(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal), "begin to record a graph");
  if (!status.ok()) return status;
  status = work();
  cudaGraph_t captured = nullptr;
  const Status ended = check(cudaStreamEndCapture(stream_, &captured), "record a graph");
  if (status.ok()) status = ended;
  if (status.ok()) status = check(cudaGraphInstantiate(graph, captured, 0), "prepare a graph");
  if (captured != nullptr) cudaGraphDestroy(captured);
  return status;
}

}  // namespace deployrec
