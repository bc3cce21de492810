// What is kept of every user: state and user vector, one row a slot, in one piece of device memory; on the host the
// items seen, the newest of them where the state is exact up to a window only, and what else a record holds.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "deployrec/serving.h"
#include "device.h"
#include "recent_rows.h"
#include "record.h"
#include "runner.h"
#include "slots.h"

namespace deployrec {

class Arena {
 public:
  // For the states of an engine that moves them.
  static Status create(std::shared_ptr<Device> device, const EngineShape& shape, const Options& options,
                       std::shared_ptr<Arena>* arena);

  // Held while anything here is read or changed, but for the memory of pinned slots: graphs run without it.
  std::mutex& mutex() { return mutex_; }

  SlotTable& slots() { return slots_; }
  RecentRows& recent() { return recent_; }
  Counters& counters() { return counters_; }
  const PlanName& bundle() const { return bundle_; }  // the graph and max_k in it are one plan's own
  bool has_states() const { return !states_.empty(); }
  const std::shared_ptr<Device>& device() const { return device_; }

  // Whether an engine has this arena's bundle and state layout.
  Status check(const EngineShape& shape) const;
  // The same states go on under another bundle of their state_id.
  Status adopt(const PlanName& name);
  void take_name(const PlanName& name);

  // Pinned slots of `users`, new and zero for those without one. Where they do not all fit, the least recently used
  // others go, or kFull, with nothing changed, where Options::eviction says so.
  Status claim(Device& device, const std::vector<int64_t>& users, std::vector<int64_t>* slots);
  void unpin(const std::vector<int64_t>& slots);
  // Frees the slots of users who were idle for longer than the time to live.
  void expire();
  // Puts the slot back to a user without events.
  Status zero(Device& device, int64_t slot);
  // The same of the state alone; what else is known of the user stays.
  Status clear_state(Device& device, int64_t slot) { return device.fill_zero(row(slot), row_bytes_); }
  // The slot has read so many items more. A call that wrote it counts as one version.
  void note(int64_t slot, const int64_t* items, int64_t count);
  void note_written(int64_t slot, double written, uint64_t writer);

  // The slot that padded batch rows of a lane read and write.
  int64_t scratch_slot(int64_t lane) const { return slots_.capacity() + lane; }
  // Moves without slots, batch and tensors: the engine's buffers are filled in by who runs it. First the states in
  // their order, then the user vector.
  StateMove move_template(bool with_states, bool with_user) const;

  RecordLayout record_layout() const;
  Status read_record(Device& device, int64_t slot, Record* record);
  // The user vector [user_dim] alone.
  Status read_user(Device& device, int64_t slot, std::vector<float>* user);
  // In place of what the slot holds.
  Status write_record(Device& device, int64_t slot, const Record& record);
  // All users, through records; see state_file.h. A refused file leaves the arena as it was.
  Status save(const std::string& path);
  Status restore(const std::string& path);

 private:
  Arena(std::shared_ptr<Device> device, const EngineShape& shape, const Options& options);
  Status make_room(int64_t wanted);
  bool is_expired(const SlotTable::Owner& owner, double now) const;
  void to_row(const Record& record, unsigned char* row) const;
  void from_row(const unsigned char* row, Record* record) const;
  void put_book(SlotTable* slots, RecentRows* recent, int64_t slot, const Record& record) const;
  unsigned char* row(int64_t slot) const { return memory_.as<unsigned char>() + static_cast<size_t>(slot) * row_bytes_; }

  std::shared_ptr<Device> device_;
  PlanName bundle_;
  std::vector<StateTensor> states_;
  int64_t user_dim_;
  Eviction eviction_;
  double time_to_live_;
  std::vector<StateSegment> segments_;  // of the states, then of the user vector
  size_t row_bytes_ = 0;
  SlotTable slots_;
  RecentRows recent_;
  Counters counters_;
  std::string meta_ = "{}";  // of the file that was restored
  DeviceMemory memory_;
  std::mutex mutex_;
};

}  // namespace deployrec
