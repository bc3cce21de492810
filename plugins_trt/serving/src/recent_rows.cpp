#include "recent_rows.h"

namespace deployrec {

void RecentRows::note(int64_t slot, int64_t event, int64_t item_row) {
  if (window_ == 0) return;
  const auto needed = static_cast<size_t>((slot + 1) * window_);
  if (rows_.size() < needed) rows_.resize(needed);
  rows_[static_cast<size_t>(slot * window_ + event % window_)] = static_cast<int32_t>(item_row);
}

}  // namespace deployrec
