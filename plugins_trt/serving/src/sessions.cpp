#include "sessions.h"

#include <algorithm>
#include <limits>
#include <unordered_map>

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

// How many events each user has read, before a call and as it goes on.
class Counts {
 public:
  explicit Counts(BatchRunner& runner) : slots_(runner.arena().slots()), window_(runner.shape().window) {}

  // Adds a user's next events; kBeyondWindow where the state would forget the oldest without being told.
  Status add(int64_t user, size_t events, bool resume) {
    const int64_t slot = slots_.find(user);
    const auto known = counts_.emplace(user, slot == SlotTable::kNone ? 0 : slots_.owner(slot).events).first;
    known->second = (resume ? known->second : 0) + static_cast<int64_t>(events);
    if (window_ == 0 || known->second <= window_) return {};
    return {StatusCode::kBeyondWindow, "expected at most " + std::to_string(window_) + " events of a user; got " +
                                           std::to_string(known->second) + " of user " + std::to_string(user) +
                                           "; encode the user's newest events, without resume"};
  }

 private:
  const SlotTable& slots_;
  int64_t window_;
  std::unordered_map<int64_t, int64_t> counts_;
};

// Without `resume` a model with a window reads the newest events of a history, as it does in Python.
History newest(const History& history, int64_t window) {
  History read = history;
  if (window > 0 && !history.resume && history.item_count > static_cast<size_t>(window)) {
    read.item_rows += history.item_count - static_cast<size_t>(window);
    read.item_count = static_cast<size_t>(window);
  }
  return read;
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

Status run_step(BatchRunner& runner, const Event* events, size_t count, Recommendations* recommendations) {
  const int64_t num_items = runner.shape().num_items;
  Counts counts(runner);
  for (size_t i = 0; i < count; ++i) {
    Status status = check_rows("an item row", i, &events[i].item_row, 1, 1, num_items);
    if (status.ok()) {
      status = check_rows("an excluded row", i, events[i].exclude_rows, events[i].exclude_count, 0, num_items);
    }
    if (status.ok()) status = counts.add(events[i].user, 1, true);
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

Status run_encode(BatchRunner& runner, const History* given, size_t count, Recommendations* recommendations) {
  const int64_t num_items = runner.shape().num_items;
  Counts counts(runner);
  std::vector<History> histories;
  for (size_t i = 0; i < count; ++i) {
    histories.push_back(newest(given[i], runner.shape().window));
    const History& history = histories.back();
    Status status = check_rows("an item row", i, history.item_rows, history.item_count, 1, num_items);
    if (status.ok()) {
      status = check_rows("an excluded row", i, history.exclude_rows, history.exclude_count, 0, num_items);
    }
    if (status.ok()) status = counts.add(history.user, history.item_count, history.resume);
    if (!status.ok()) return status;
  }
  const std::vector<int64_t> users = users_of(histories.data(), count);
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
    status = run_stretches(runner, histories.data(), wave, slots, recommendations);
    if (!status.ok()) return status;
    for (const size_t i : wave) count_events(runner, slots[i], static_cast<int64_t>(histories[i].item_count));
  }
  return {};
}

}  // namespace deployrec
