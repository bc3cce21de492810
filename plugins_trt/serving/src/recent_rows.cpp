#include "recent_rows.h"

#include <algorithm>

namespace deployrec {

void RecentRows::note(int64_t slot, int64_t event, int64_t item_row) {
  if (window_ == 0) return;
  const auto needed = static_cast<size_t>((slot + 1) * window_);
  if (rows_.size() < needed) rows_.resize(needed);
  rows_[static_cast<size_t>(slot * window_ + event % window_)] = static_cast<int32_t>(item_row);
}

void RecentRows::append_newest(int64_t slot, int64_t events, std::vector<int64_t>* rows) const {
  for (int64_t event = std::max<int64_t>(0, events - window_); event < events; ++event) {
    rows->push_back(rows_[static_cast<size_t>(slot * window_ + event % window_)]);
  }
}

}  // namespace deployrec
