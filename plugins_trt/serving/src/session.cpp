#include "session.h"

#include <algorithm>
#include <limits>
#include <unordered_map>

#include "batching.h"

namespace deployrec {
namespace {

// `least` is 1 for an event; 0 is the padding that an exclude list may carry.
Status check_rows(const char* what, size_t entry, ItemRows rows, int64_t least, int64_t num_items) {
  for (size_t i = 0; i < rows.count; ++i) {
    if (rows.data[i] >= least && rows.data[i] <= num_items) continue;
    return {StatusCode::kInvalidArgument, std::string("expected ") + what + " in " + std::to_string(least) + ".." +
                                              std::to_string(num_items) + "; got " + std::to_string(rows.data[i]) +
                                              " in entry " + std::to_string(entry) + "; leave unknown items out"};
  }
  return {};
}

Status check_events(const Event* events, size_t count, bool with_lists, int64_t num_items) {
  for (size_t i = 0; i < count; ++i) {
    Status status = check_rows("an item row", i, {&events[i].item_row, 1}, 1, num_items);
    if (status.ok() && with_lists) status = check_rows("an excluded row", i, events[i].exclude, 0, num_items);
    if (status.ok() && with_lists && events[i].only) {
      status = check_rows("a row that may come", i, *events[i].only, 1, num_items);
    }
    if (!status.ok()) return status;
  }
  return {};
}

void prepare(size_t rows, int64_t k, Recommendations* out) {
  const size_t values = rows * static_cast<size_t>(k);
  out->k = k;
  out->item_rows.assign(values, 0);
  out->scores.assign(values, -std::numeric_limits<float>::infinity());
}

template <class Entry>
std::vector<int64_t> users_of(const Entry* entries, size_t count) {
  std::vector<int64_t> users;
  users.reserve(count);
  for (size_t i = 0; i < count; ++i) users.push_back(entries[i].user);
  return users;
}

}  // namespace

Status Session::observe(const Event* events, size_t count) {
  Status status = check_events(events, count, false, bundle().num_items);
  if (!status.ok()) return status;
  Call call(*arena_);
  const std::vector<int64_t> users = users_of(events, count);

  // Users who leave the window are read again once, with all their events of this call.
  std::unordered_map<int64_t, std::vector<int64_t>> again;
  if (bundle().window > 0) {
    for (size_t i = 0; i < count; ++i) again[users[i]].push_back(events[i].item_row);
    for (auto user = again.begin(); user != again.end();) {
      const bool carried = carries(events_of(user->first) + static_cast<int64_t>(user->second.size()));
      user = carried ? again.erase(user) : std::next(user);
    }
  }
  std::vector<size_t> carried;
  for (size_t i = 0; i < count; ++i) {
    if (again.empty() || again.count(users[i]) == 0) carried.push_back(i);
  }
  if (!carried.empty()) status = need(Graph::kAdvance, "to observe");
  if (status.ok() && !again.empty()) status = need_to_read_again();
  if (status.ok()) status = call.claim(*device_, users);
  if (!status.ok()) return status;

  std::vector<int64_t> carried_users;
  for (const size_t i : carried) carried_users.push_back(users[i]);
  for (const std::vector<size_t>& wave : plan_waves(carried_users)) {
    std::vector<BatchRow> rows;
    rows.reserve(wave.size());
    for (const size_t place : wave) {
      const size_t i = carried[place];
      rows.push_back({call.slots()[i], &events[i].item_row, 1, {}, nullptr, 0, 0, false});
    }
    status = run(call, Graph::kAdvance, rows, 0, nullptr);
    if (!status.ok()) return status;
    for (const BatchRow& row : rows) arena_->note(row.slot, row.items, 1);
  }
  std::vector<Reading> readings;
  for (const auto& [user, items] : again) {
    readings.push_back({arena_->slots().find(user), items.data(), static_cast<int64_t>(items.size()), false});
  }
  status = read(call, readings);
  if (!status.ok()) return status;
  arena_->counters().events += static_cast<int64_t>(count);
  call.written();
  return {};
}

Status Session::observe_and_recommend(const Event* events, size_t count, int64_t k, Recommendations* recommendations) {
  Status status = check_events(events, count, true, bundle().num_items);
  if (!status.ok()) return status;
  Call call(*arena_);
  const bool by_window = bundle().window > 0;
  bool has_stepped = false, has_advanced = false, has_beyond = false, has_scored = false;
  std::unordered_map<int64_t, int64_t> totals;
  for (size_t i = 0; i < count; ++i) {
    const bool is_whole = !events[i].only.has_value();
    const bool is_beyond =
        by_window && !carries(++totals.try_emplace(events[i].user, events_of(events[i].user)).first->second);
    (is_beyond ? has_beyond : is_whole ? has_stepped : has_advanced) = true;
    has_scored = has_scored || (is_beyond && is_whole);
    if (!is_whole) status = need_items(k);
    if (!status.ok()) return status;
  }
  if (has_stepped) status = need_lists(Graph::kStep, k, "to observe and recommend");
  if (status.ok() && has_advanced) status = need(Graph::kAdvance, "to observe");
  if (status.ok() && has_beyond) status = need_to_read_again();
  if (status.ok() && has_scored) status = need_lists(Graph::kScore, k, "for lists after that");
  const std::vector<int64_t> users = users_of(events, count);
  if (status.ok()) status = call.claim(*device_, users);
  if (!status.ok()) return status;

  prepare(count, k, recommendations);
  for (const std::vector<size_t>& wave : plan_waves(users)) {
    std::vector<BatchRow> stepped, advanced, scored;
    std::vector<Reading> readings;
    stepped.reserve(wave.size());
    for (const size_t i : wave) {
      const int64_t slot = call.slots()[i];
      if (!carries(events_in(slot) + 1)) {
        readings.push_back({slot, &events[i].item_row, 1, false});
      } else if (!events[i].only.has_value()) {
        stepped.push_back(list_row(slot, &events[i].item_row, events[i].exclude, i));
      } else {
        advanced.push_back({slot, &events[i].item_row, 1, {}, nullptr, 0, 0, false});
      }
    }
    if (!stepped.empty()) status = run(call, Graph::kStep, stepped, k, recommendations);
    if (status.ok() && !advanced.empty()) status = run(call, Graph::kAdvance, advanced, 0, nullptr);
    if (!status.ok()) return status;
    for (const BatchRow& row : stepped) arena_->note(row.slot, row.items, 1);
    for (const BatchRow& row : advanced) arena_->note(row.slot, row.items, 1);
    status = read(call, readings);
    for (const size_t i : wave) {
      const int64_t slot = call.slots()[i];
      if (!status.ok()) return status;
      if (events[i].only.has_value()) {
        status = rank(call, slot, *events[i].only, events[i].exclude, i, recommendations);
      } else if (!carries(events_in(slot))) {
        scored.push_back(list_row(slot, nullptr, events[i].exclude, i));
      }
    }
    if (status.ok() && !scored.empty()) status = run(call, Graph::kScore, scored, k, recommendations);
    if (!status.ok()) return status;
  }
  arena_->counters().events += static_cast<int64_t>(count);
  arena_->counters().lists += static_cast<int64_t>(count);
  call.written();
  return {};
}

Status Session::recommend(const Request* requests, size_t count, int64_t k, Recommendations* recommendations) {
  Status status;
  for (size_t i = 0; status.ok() && i < count; ++i) {
    status = requests[i].only.has_value() ? need_items(k) : need_lists(Graph::kScore, k, "to recommend");
    if (status.ok()) status = check_rows("an excluded row", i, requests[i].exclude, 0, bundle().num_items);
    if (status.ok() && requests[i].only) {
      status = check_rows("a row that may come", i, *requests[i].only, 1, bundle().num_items);
    }
  }
  if (!status.ok()) return status;
  Call call(*arena_);
  prepare(count, k, recommendations);
  std::vector<BatchRow> rows;
  for (size_t i = 0; i < count; ++i) {
    if (events_of(requests[i].user) == 0) continue;
    const int64_t slot = arena_->slots().find(requests[i].user);
    call.pin(slot);
    if (!requests[i].only.has_value()) {
      rows.push_back(list_row(slot, nullptr, requests[i].exclude, i));
    } else {
      status = rank(call, slot, *requests[i].only, requests[i].exclude, i, recommendations);
      if (!status.ok()) return status;
    }
  }
  arena_->counters().lists += static_cast<int64_t>(count);
  return rows.empty() ? status : run(call, Graph::kScore, rows, k, recommendations);
}

Status Session::encode(const History* histories, size_t count) {
  Status status = need(Graph::kEncode, "to encode histories");
  for (size_t i = 0; status.ok() && i < count; ++i) {
    status = check_rows("an item row", i, histories[i].items, 1, bundle().num_items);
  }
  if (!status.ok()) return status;
  Call call(*arena_);
  const std::vector<int64_t> users = users_of(histories, count);
  status = call.claim(*device_, users);
  if (!status.ok()) return status;
  for (const std::vector<size_t>& wave : plan_waves(users)) {
    std::vector<Reading> readings;
    for (const size_t i : wave) {
      const ItemRows& items = histories[i].items;
      readings.push_back({call.slots()[i], items.data, static_cast<int64_t>(items.count), !histories[i].resume});
      arena_->counters().events += static_cast<int64_t>(items.count);
    }
    status = read(call, readings);
    if (!status.ok()) return status;
  }
  call.written();
  return {};
}

Status Session::warm_up(const std::vector<int64_t>& batches, int64_t k) {
  Call call(*arena_);
  Recommendations ignored;
  for (const std::unique_ptr<BatchRunner>& engine : runners_) {
    if (engine == nullptr) continue;
    std::vector<int64_t> sizes = batches;
    sizes.push_back(engine->shape().max_batch);
    const bool has_lists = makes_lists(engine->shape().name.graph);
    Status status = has_lists ? need_lists(engine->shape().name.graph, k, "to warm up") : Status{};
    for (const int64_t size : sizes) {
      if (!status.ok()) return status;
      if (size < 1 || size > engine->shape().max_batch) continue;
      prepare(static_cast<size_t>(size), k, &ignored);
      status = call.unlocked([&] { return engine->warm_up(size, has_lists ? k : 0, &ignored); });
    }
    if (!status.ok()) return status;
  }
  return {};
}

Status Session::export_user(int64_t user, std::string* record) {
  Call call(*arena_);
  const int64_t slot = arena_->slots().find(user);
  if (slot == SlotTable::kNone) {
    return {StatusCode::kInvalidArgument,
            "expected a user with a state; got " + std::to_string(user) + "; see user_list for those there are"};
  }
  Record read;
  Status status = arena_->read_record(*device_, slot, &read);
  if (status.ok()) *record = pack(read);
  return status;
}

Status Session::import_user(int64_t user, const std::string& record) {
  Record read;
  Call call(*arena_);
  Status status = unpack(arena_->record_layout(), record, &read);
  if (status.ok()) status = call.claim(*device_, {user});
  return status.ok() ? arena_->write_record(*device_, call.slots()[0], read) : status;
}

}  // namespace deployrec
