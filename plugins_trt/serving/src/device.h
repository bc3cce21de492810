// The seam to the machine: memory, copies and state moves in the order of one stream. CUDA has one, the host
// another.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <tuple>

#include "deployrec/status.h"
#include "state_move.h"

namespace deployrec {

// A kind of work: one graph, on batches of one size, with lists of one length and so many excluded items.
using WorkKey = std::tuple<int, int64_t, int64_t, int64_t>;

class Device {
 public:
  virtual ~Device() = default;

  // Makes the calling thread use this device, and notes which one it used before; see Selected.
  virtual Status select(int* before) = 0;
  virtual void deselect(int before) = 0;

  virtual Status allocate(size_t bytes, void** memory) = 0;       // on the device
  virtual Status allocate_host(size_t bytes, void** memory) = 0;  // that copies can run from while the host goes on
  virtual void free(void* memory) = 0;
  virtual void free_host(void* memory) = 0;

  // Each takes its turn on the stream.
  virtual Status upload(void* to, const void* from, size_t bytes) = 0;
  virtual Status download(void* to, const void* from, size_t bytes) = 0;
  virtual Status fill_zero(void* memory, size_t bytes) = 0;
  virtual Status gather(const StateMove& move) = 0;
  virtual Status scatter(const StateMove& move) = 0;
  virtual Status wait() = 0;

  // Does what `work` puts on the stream. With the same key it is the same work on the same memory, and the device may
  // replay what it recorded before.
  virtual Status repeat(const WorkKey& key, const std::function<Status()>& work) = 0;
};

// The calling thread uses the device while this lives, and afterwards the one that it used before: the caller's.
class Selected {
 public:
  explicit Selected(std::shared_ptr<Device> device) : device_(std::move(device)), status_(device_->select(&before_)) {}
  ~Selected() {
    if (status_.ok()) device_->deselect(before_);
  }
  Selected(const Selected&) = delete;
  Selected& operator=(const Selected&) = delete;
  const Status& status() const { return status_; }

 private:
  std::shared_ptr<Device> device_;
  int before_ = 0;
  Status status_;
};

// Memory that is freed with its owner.
class DeviceMemory {
 public:
  DeviceMemory() = default;
  ~DeviceMemory() { reset(); }
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;

  Status allocate(std::shared_ptr<Device> device, size_t bytes, bool on_host = false) {
    reset();
    Status status = on_host ? device->allocate_host(bytes, &memory_) : device->allocate(bytes, &memory_);
    device_ = std::move(device);
    on_host_ = on_host;
    return status;
  }
  template <class Value>
  Value* as() const {
    return static_cast<Value*>(memory_);
  }

 private:
  void reset() {
    if (memory_ == nullptr) return;
    on_host_ ? device_->free_host(memory_) : device_->free(memory_);
    memory_ = nullptr;
  }
  std::shared_ptr<Device> device_;
  void* memory_ = nullptr;
  bool on_host_ = false;
};

}  // namespace deployrec
