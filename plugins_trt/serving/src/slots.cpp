#include "slots.h"

namespace deployrec {

int64_t SlotTable::find(int64_t user) const {
  const auto found = slots_.find(user);
  return found == slots_.end() ? kNone : found->second;
}

int64_t SlotTable::add(int64_t user) {
  int64_t slot = kNone;
  if (!free_.empty()) {
    slot = free_.back();
    free_.pop_back();
  } else if (end() < capacity_) {
    slot = end();
    owners_.push_back({});
  } else {
    return kNone;
  }
  owners_[static_cast<size_t>(slot)] = {user, 0, true};
  slots_.emplace(user, slot);
  return slot;
}

bool SlotTable::remove(int64_t user) {
  const auto found = slots_.find(user);
  if (found == slots_.end()) return false;
  owners_[static_cast<size_t>(found->second)].in_use = false;
  free_.push_back(found->second);
  slots_.erase(found);
  return true;
}

}  // namespace deployrec
