// Every user's state, one row a slot, in one piece of device memory; and the way to a file and back.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "deployrec/serving.h"
#include "device.h"
#include "runner.h"
#include "slots.h"

namespace deployrec {

class Arena {
 public:
  static Status create(std::shared_ptr<Device> device, const EngineShape& shape, int64_t max_users,
                       StateStorage storage, std::shared_ptr<Arena>* arena);

  SlotTable& slots() { return slots_; }
  const std::string& bundle_id() const { return bundle_id_; }
  const std::shared_ptr<Device>& device() const { return device_; }
  // One call at a time: all engines of the arena share its stream and its staging.
  std::mutex& mutex() { return mutex_; }

  // Whether an engine has this arena's bundle and state layout.
  Status check(const EngineShape& shape) const;

  // Slots of `users`, new and zero for those without one; kFull, with nothing changed, where they do not all fit.
  Status claim(const std::vector<int64_t>& users, std::vector<int64_t>* slots);
  Status zero(int64_t slot);

  // The slot that padded batch rows read and write.
  int64_t scratch_slot() const { return slots_.capacity(); }
  // A move without slots, batch and tensors: the engine's buffers are filled in by who runs it.
  StateMove move_template() const;

  Status save(const std::string& path);
  Status restore(const std::string& path);

 private:
  Arena(std::shared_ptr<Device> device, const EngineShape& shape, int64_t max_users, StateStorage storage);
  size_t row_bytes() const { return static_cast<size_t>(row_values_) * (storage_ == StateStorage::kFloat16 ? 2 : 4); }
  std::string layout() const;
  unsigned char* row(int64_t slot) const {
    return memory_.as<unsigned char>() + static_cast<size_t>(slot) * row_bytes();
  }

  std::shared_ptr<Device> device_;
  std::string bundle_id_;
  std::string state_id_;
  std::vector<StateTensor> states_;
  StateStorage storage_;
  int64_t row_values_ = 0;
  SlotTable slots_;
  DeviceMemory memory_;
  std::mutex mutex_;
};

}  // namespace deployrec
