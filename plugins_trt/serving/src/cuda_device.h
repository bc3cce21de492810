// The Device of a GPU.
#pragma once

#include <cuda_runtime_api.h>

#include <memory>

#include "device.h"
#include "recordings.h"

namespace deployrec {

class CudaDevice final : public Device {
 public:
  using Log = Recordings<cudaGraphExec_t>::Log;

  // `stream`: a cudaStream_t of the caller's, who keeps it; null: one of its own.
  static Status create(int index, void* stream, const Log& log, std::shared_ptr<CudaDevice>* device);
  ~CudaDevice() override;

  cudaStream_t stream() const { return stream_; }

  Status select(int* before) override;
  void deselect(int before) override;
  Status allocate(size_t bytes, void** memory) override;
  Status allocate_host(size_t bytes, void** memory) override;
  void free(void* memory) override;
  void free_host(void* memory) override;
  Status upload(void* to, const void* from, size_t bytes) override;
  Status download(void* to, const void* from, size_t bytes) override;
  Status fill_zero(void* memory, size_t bytes) override;
  Status gather(const StateMove& move) override;
  Status scatter(const StateMove& move) override;
  Status wait() override;
  // The first run with a key is an ordinary one, in which TensorRT sets itself up; it is then recorded as a CUDA graph.
  Status repeat(const WorkKey& key, const std::function<Status()>& work) override;

 private:
  CudaDevice(int index, cudaStream_t stream, const Log& log)
      : index_(index), is_own_stream_(stream == nullptr), stream_(stream), graphs_(log) {}
  Status record(const std::function<Status()>& work, cudaGraphExec_t* graph);

  int index_;
  bool is_own_stream_;
  cudaStream_t stream_;
  Recordings<cudaGraphExec_t> graphs_;
};

}  // namespace deployrec
