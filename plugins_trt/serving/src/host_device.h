// The Device of the host's own memory, where nothing waits in a stream: every call has done its work when it returns.
#pragma once

#include <mutex>
#include <unordered_map>

#include "device.h"

namespace deployrec {

class HostDevice : public Device {
 public:
  ~HostDevice() override;

  Status select(int*) override { return {}; }
  void deselect(int) override {}
  // Pages of the operating system's: zeros, and taken from the machine as they are first written.
  Status allocate(size_t bytes, void** memory) override;
  Status allocate_host(size_t bytes, void** memory) override { return allocate(bytes, memory); }
  void free(void* memory) override;
  void free_host(void* memory) override { free(memory); }
  Status upload(void* to, const void* from, size_t bytes) override;
  Status download(void* to, const void* from, size_t bytes) override { return upload(to, from, bytes); }
  Status fill_zero(void* memory, size_t bytes) override;
  Status gather(const StateMove& move) override;
  Status scatter(const StateMove& move) override;
  Status wait() override { return {}; }
  Status repeat(const WorkKey&, const std::function<Status()>& work) override { return work(); }

 private:
  std::mutex mutex_;
  std::unordered_map<void*, size_t> sizes_;
};

}  // namespace deployrec
