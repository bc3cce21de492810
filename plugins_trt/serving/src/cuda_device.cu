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
    const auto rows = static_cast<unsigned>(std::min(kMostRows, move.batch - first));
    move_states<kGather><<<dim3(static_cast<unsigned>(move.segments), rows), kBlock, 0, stream>>>(move, first);
  }
  return check(cudaGetLastError(), kGather ? "gather states" : "scatter states");
}

}  // namespace

Status CudaDevice::create(int index, std::shared_ptr<CudaDevice>* device) {
  std::shared_ptr<CudaDevice> made(new CudaDevice(index));
  Status status = made->select();
  if (status.ok()) status = check(cudaStreamCreateWithFlags(&made->stream_, cudaStreamNonBlocking), "create a stream");
  if (status.ok()) *device = std::move(made);
  return status;
}

CudaDevice::~CudaDevice() {
  cudaSetDevice(index_);
  for (const auto& graph : graphs_) cudaGraphExecDestroy(graph.second);
  if (stream_ != nullptr) cudaStreamDestroy(stream_);
}

Status CudaDevice::select() { return check(cudaSetDevice(index_), "select the device"); }

Status CudaDevice::allocate(size_t bytes, void** memory) { return check(cudaMalloc(memory, bytes), "allocate memory"); }

Status CudaDevice::allocate_host(size_t bytes, void** memory) {
  return check(cudaMallocHost(memory, bytes), "allocate page-locked memory");
}

void CudaDevice::free(void* memory) { cudaFree(memory); }

void CudaDevice::free_host(void* memory) { cudaFreeHost(memory); }

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
  const auto recorded = graphs_.find(key);
  if (recorded != graphs_.end()) return check(cudaGraphLaunch(recorded->second, stream_), "launch a graph");
  Status status = work();
  if (status.ok()) status = wait();
  if (!status.ok()) return status;
  cudaGraphExec_t graph = nullptr;
  status = record(work, &graph);
  if (status.ok()) graphs_.emplace(key, graph);
  return status;
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
