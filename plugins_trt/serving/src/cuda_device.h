// The Device of a GPU.
#pragma once

#include <cuda_runtime_api.h>

#include <map>
#include <memory>

#include "device.h"

namespace deployrec {

class CudaDevice final : public Device {
 public:
  static Status create(int index, std::shared_ptr<CudaDevice>* device);
  ~CudaDevice() override;

  cudaStream_t stream() const { return stream_; }

  Status select() override;
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
  explicit CudaDevice(int index) : index_(index) {}
  Status record(const std::function<Status()>& work, cudaGraphExec_t* graph);

  int index_;
  cudaStream_t stream_ = nullptr;
  std::map<WorkKey, cudaGraphExec_t> graphs_;
};

}  // namespace deployrec
