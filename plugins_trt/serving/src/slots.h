// Which user owns which slot of the arena. Pure bookkeeping: knows no memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <vector>

namespace deployrec {

class SlotTable {
 public:
  static constexpr int64_t kNone = -1;

  explicit SlotTable(int64_t capacity) : capacity_(capacity) {}

  int64_t capacity() const { return capacity_; }
  int64_t size() const { return static_cast<int64_t>(slots_.size()); }
  // Slots at and above this one have never been used.
  int64_t end() const { return static_cast<int64_t>(owners_.size()); }

  // The user's slot, or kNone.
  int64_t find(int64_t user) const;
  // A slot for a user who has none, or kNone where all are taken.
  int64_t add(int64_t user);
  // False where the user had no slot.
  bool remove(int64_t user);

  struct Owner {
    int64_t user;
    int64_t events;
    bool in_use;
  };
  const Owner& owner(int64_t slot) const { return owners_[static_cast<size_t>(slot)]; }
  void set_events(int64_t slot, int64_t events) { owners_[static_cast<size_t>(slot)].events = events; }

 private:
  int64_t capacity_;
  std::unordered_map<int64_t, int64_t> slots_;
  std::vector<Owner> owners_;
  std::vector<int64_t> free_;
};

}  // namespace deployrec
