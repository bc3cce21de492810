// The newest `window` item rows of every slot, on the host: what a state that is exact up to a window is read again
// from.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace deployrec {

class RecentRows {
 public:
  explicit RecentRows(int64_t window) : window_(window) {}

  int64_t window() const { return window_; }

  // The event number `event` of the slot, from 0 on, was this item; the one `window` events before it is forgotten.
  void note(int64_t slot, int64_t event, int64_t item_row);

  // Puts the newest rows of a slot with so many events behind `rows`, oldest first.
  template <class Row>
  void append_newest(int64_t slot, int64_t events, std::vector<Row>* rows) const {
    for (int64_t event = events > window_ ? events - window_ : 0; event < events && window_ > 0; ++event) {
      rows->push_back(rows_[static_cast<size_t>(slot * window_ + event % window_)]);
    }
  }

 private:
  int64_t window_;
  std::vector<int32_t> rows_;  // [slots, window]; event e lies at e modulo window
};

}  // namespace deployrec
