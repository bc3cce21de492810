#include "sessions.h"

#include <algorithm>
#include <limits>

#include "batching.h"

namespace deployrec {
namespace {

// `least` is 1 for an event; 0 is the padding that an exclude list may carry.
Status check_rows(const char* what, size_t entry, const int64_t* rows, size_t count, int64_t least, int64_t num_items) {
  for (size_t i = 0; i < count; ++i) {
    if (rows[i] >= least && rows[i] <= num_items) continue;
    return {StatusCode::kInvalidArgument, std::string("expected ") + what + " in " + std::to_string(least) + ".." +
                                              std::to_string(num_items) + "; got " + std::to_string(rows[i]) +
                                              " in entry " + std::to_string(entry) + "; leave unknown items out"};
  }
  return {};
}

void prepare(const BatchRunner& runner, size_t rows, Recommendations* out) {
  const auto values = rows * static_cast<size_t>(runner.shape().k);
  out->k = runner.shape().k;
  out->item_rows.assign(values, 0);
  out->scores.assign(values, -std::numeric_limits<float>::infinity());
}

template <class Entry>
std::vector<int64_t> users_of(const Entry* entries, size_t count) {
  std::vector<int64_t> users;
  for (size_t i = 0; i < count; ++i) users.push_back(entries[i].user);
  return users;
}

void count_events(BatchRunner& runner, int64_t slot, int64_t events) {
  SlotTable& slots = runner.arena().slots();
  slots.set_events(slot, slots.owner(slot).events + events);
}

// Runs one wave of histories: each stretch of at most max_time events goes through the engine, the shorter ones drop
// out.
Status run_stretches(BatchRunner& runner, const History* histories, const std::vector<size_t>& wave,
                     const std::vector<int64_t>& slots, Recommendations* recommendations) {
  const auto most = static_cast<size_t>(runner.shape().max_time);
  size_t longest = 0;
  for (const size_t i : wave) longest = std::max(longest, histories[i].item_count);
  for (size_t first = 0; first < longest; first += most) {
    std::vector<BatchRow> rows;
    for (const size_t i : wave) {
      const History& history = histories[i];
      if (history.item_count <= first) continue;
      const size_t count = std::min(most, history.item_count - first);
      const bool is_last = first + count == history.item_count;
      rows.push_back({slots[i], history.item_rows + first, static_cast<int64_t>(count), history.exclude_rows,
                      history.exclude_count, is_last ? i : BatchRow::kNoAnswer});
    }
    // Neighbours of one length waste the least padding.
    std::stable_sort(rows.begin(), rows.end(),
                     [](const BatchRow& a, const BatchRow& b) { return a.item_count > b.item_count; });
    Status status = runner.run(rows, recommendations);
    if (!status.ok()) return status;
  }
  return {};
}

}  // namespace

Status run_step(BatchRunner& runner, int64_t num_items, const Event* events, size_t count,
                Recommendations* recommendations) {
  for (size_t i = 0; i < count; ++i) {
    Status status = check_rows("an item row", i, &events[i].item_row, 1, 1, num_items);
    if (status.ok()) {
      status = check_rows("an excluded row", i, events[i].exclude_rows, events[i].exclude_count, 0, num_items);
    }
    if (!status.ok()) return status;
  }
  const std::vector<int64_t> users = users_of(events, count);
  std::vector<int64_t> slots;
  Status status = runner.arena().claim(users, &slots);
  if (!status.ok()) return status;
  prepare(runner, count, recommendations);
  for (const std::vector<size_t>& wave : plan_waves(users)) {
    std::vector<BatchRow> rows;
    for (const size_t i : wave) {
      rows.push_back({slots[i], &events[i].item_row, 1, events[i].exclude_rows, events[i].exclude_count, i});
    }
    status = runner.run(rows, recommendations);
    if (!status.ok()) return status;
    for (const size_t i : wave) count_events(runner, slots[i], 1);
  }
  return {};
}

Status run_encode(BatchRunner& runner, int64_t num_items, const History* histories, size_t count,
                  Recommendations* recommendations) {
  for (size_t i = 0; i < count; ++i) {
    const History& history = histories[i];
    Status status = check_rows("an item row", i, history.item_rows, history.item_count, 1, num_items);
    if (status.ok()) {
      status = check_rows("an excluded row", i, history.exclude_rows, history.exclude_count, 0, num_items);
    }
    if (!status.ok()) return status;
  }
  const std::vector<int64_t> users = users_of(histories, count);
  std::vector<int64_t> slots;
  Status status = runner.arena().claim(users, &slots);
  if (!status.ok()) return status;
  prepare(runner, count, recommendations);
  for (const std::vector<size_t>& wave : plan_waves(users)) {
    for (const size_t i : wave) {
      if (histories[i].resume) continue;
      status = runner.arena().zero(slots[i]);
      if (!status.ok()) return status;
      runner.arena().slots().set_events(slots[i], 0);
    }
    status = run_stretches(runner, histories, wave, slots, recommendations);
    if (!status.ok()) return status;
    for (const size_t i : wave) count_events(runner, slots[i], static_cast<int64_t>(histories[i].item_count));
  }
  return {};
}

}  // namespace deployrec
