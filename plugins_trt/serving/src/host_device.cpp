#include "host_device.h"

#include <sys/mman.h>

#include <cstring>

namespace deployrec {
namespace {

// One tensor of one user, between its place in the arena and its row of the engine's buffer.
template <bool kGather>
void move_tensor(const StateMove& move, int64_t row, int segment) {
  const StateSegment& s = move.segment[segment];
  unsigned char* stored = move.arena + move.slots[row] * move.row_bytes + s.offset;
  float* values = s.tensor + row * s.count;
  if (!s.is_half) {
    const size_t bytes = static_cast<size_t>(s.count) * sizeof(float);
    kGather ? std::memcpy(values, stored, bytes) : std::memcpy(stored, values, bytes);
    return;
  }
  for (int64_t i = 0; i < s.count; ++i) {
    kGather ? gather_value(move, row, segment, i) : scatter_value(move, row, segment, i);
  }
}

template <bool kGather>
Status move_all(const StateMove& move) {
  for (int64_t row = 0; row < move.batch; ++row) {
    for (int segment = 0; segment < move.segments; ++segment) move_tensor<kGather>(move, row, segment);
  }
  return {};
}

}  // namespace

HostDevice::~HostDevice() {
  for (const auto& [memory, bytes] : sizes_) munmap(memory, bytes);
}

Status HostDevice::allocate(size_t bytes, void** memory) {
  void* made = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (made == MAP_FAILED) {
    return {StatusCode::kOutOfMemory, "expected " + std::to_string(bytes) +
                                          " bytes of memory; got none; lower max_users or max_batch"};
  }
  const std::lock_guard<std::mutex> turn(mutex_);
  sizes_[made] = bytes;
  *memory = made;
  return {};
}

void HostDevice::free(void* memory) {
  const std::lock_guard<std::mutex> turn(mutex_);
  const auto found = sizes_.find(memory);
  if (found == sizes_.end()) return;
  munmap(memory, found->second);
  sizes_.erase(found);
}

Status HostDevice::upload(void* to, const void* from, size_t bytes) {
  std::memcpy(to, from, bytes);
  return {};
}

Status HostDevice::fill_zero(void* memory, size_t bytes) {
  std::memset(memory, 0, bytes);
  return {};
}

Status HostDevice::gather(const StateMove& move) { return move_all<true>(move); }

Status HostDevice::scatter(const StateMove& move) { return move_all<false>(move); }

}  // namespace deployrec
