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
    owners_.emplace_back();
  } else {
    return kNone;
  }
  owner(slot) = {};
  owner(slot).user = user;
  owner(slot).in_use = true;
  link(slot);
  slots_.emplace(user, slot);
  return slot;
}

bool SlotTable::remove(int64_t user) {
  const auto found = slots_.find(user);
  if (found == slots_.end()) return false;
  unlink(found->second);
  owner(found->second) = {};
  free_.push_back(found->second);
  slots_.erase(found);
  return true;
}

void SlotTable::touch(int64_t slot, double now) {
  owner(slot).used = now;
  if (slot == newest_) return;
  unlink(slot);
  link(slot);
}

void SlotTable::link(int64_t slot) {
  Owner& own = owner(slot);
  own.older = newest_;
  own.newer = kNone;
  (newest_ == kNone ? oldest_ : owner(newest_).newer) = slot;
  newest_ = slot;
}

void SlotTable::unlink(int64_t slot) {
  const Owner& own = owner(slot);
  (own.older == kNone ? oldest_ : owner(own.older).newer) = own.newer;
  (own.newer == kNone ? newest_ : owner(own.newer).older) = own.older;
}

}  // namespace deployrec
