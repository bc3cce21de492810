// Which user owns which slot of the arena, and what is kept of the user on the host. Knows no device memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <unordered_map>
#include <vector>

namespace deployrec {

// Where no time is known: C++ reads events without one.
constexpr int64_t kNoTime = std::numeric_limits<int64_t>::min();

// What a user's record holds beside the state: see record.h.
struct Book {
  uint64_t version = 0;  // calls that wrote the record
  uint64_t writer = 0;
  double written = 0;
  int64_t last_time = kNoTime;
  uint64_t position = 0;
  bool is_half = false;
  std::vector<int32_t> seen;  // distinct item rows, the latest last
  std::string event_hashes;
  std::string event_id;  // with a byte in front; empty where the newest event had none
  std::string sequences;
};

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
    int64_t user = 0;
    int64_t events = 0;
    bool in_use = false;
    int pins = 0;     // calls that are at work on the slot: it stays
    double used = 0;  // seconds
    int64_t older = kNone;
    int64_t newer = kNone;
    Book book;
  };
  const Owner& owner(int64_t slot) const { return owners_[static_cast<size_t>(slot)]; }
  Owner& owner(int64_t slot) { return owners_[static_cast<size_t>(slot)]; }
  void set_events(int64_t slot, int64_t events) { owner(slot).events = events; }
  // Makes the slot's user the most recently used one.
  void touch(int64_t slot, double now);
  // Slots from the least recently used on: oldest(), then owner(slot).newer.
  int64_t oldest() const { return oldest_; }

 private:
  void link(int64_t slot);
  void unlink(int64_t slot);

  int64_t capacity_;
  std::unordered_map<int64_t, int64_t> slots_;
  std::vector<Owner> owners_;
  std::vector<int64_t> free_;
  int64_t oldest_ = kNone;
  int64_t newest_ = kNone;
};

}  // namespace deployrec
