// What is kept of every user: state and user vector, one row a slot, in one piece of device memory; the newest items
// where the state is exact up to a window only; and the way to a file and back.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "deployrec/serving.h"
#include "device.h"
#include "recent_rows.h"
#include "runner.h"
#include "slots.h"

namespace deployrec {

class Arena {
 public:
  // For the states of an engine that moves them.
  static Status create(std::shared_ptr<Device> device, const EngineShape& shape, int64_t max_users,
                       StateStorage storage, std::shared_ptr<Arena>* arena);

  SlotTable& slots() { return slots_; }
  RecentRows& recent() { return recent_; }
  const PlanName& bundle() const { return bundle_; }  // the graph and max_k in it are one plan's own
  bool has_states() const { return !states_.empty(); }
  const std::shared_ptr<Device>& device() const { return device_; }
  // One call at a time: all engines of the arena share its stream and its staging.
  std::mutex& mutex() { return mutex_; }

  // Whether an engine has this arena's bundle and state layout.
  Status check(const EngineShape& shape) const;

  // Slots of `users`, new and zero for those without one; kFull, with nothing changed, where they do not all fit.
  Status claim(const std::vector<int64_t>& users, std::vector<int64_t>* slots);
  // Puts the slot back to a user without events.
  Status zero(int64_t slot);
  // The slot has read so many items more.
  void note(int64_t slot, const int64_t* items, int64_t count);

  // The slot that padded batch rows read and write.
  int64_t scratch_slot() const { return slots_.capacity(); }
  // Moves without slots, batch and tensors: the engine's buffers are filled in by who runs it. First the states in
  // their order, then the user vector.
  StateMove move_template(bool with_states, bool with_user) const;

  Status save(const std::string& path);
  Status restore(const std::string& path);

 private:
  Arena(std::shared_ptr<Device> device, const EngineShape& shape, int64_t max_users, StateStorage storage);
  Status fill_zero(int64_t slot) { return device_->fill_zero(row(slot), row_bytes_); }
  std::string layout() const;
  unsigned char* row(int64_t slot) const { return memory_.as<unsigned char>() + static_cast<size_t>(slot) * row_bytes_; }

  std::shared_ptr<Device> device_;
  PlanName bundle_;
  std::vector<StateTensor> states_;
  int64_t user_dim_;
  StateStorage storage_;
  std::vector<StateSegment> segments_;  // of the states, then of the user vector
  size_t row_bytes_ = 0;
  SlotTable slots_;
  RecentRows recent_;
  DeviceMemory memory_;
  std::mutex mutex_;
};

}  // namespace deployrec
