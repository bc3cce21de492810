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
  for (size_t i = 0; i < count; ++i) users.push_back(entries[i].user);
  return users;
}

}  // namespace

Status Session::create(std::shared_ptr<Device> device, std::vector<std::unique_ptr<Runner>> engines,
                       const Options& options, std::unique_ptr<Session>* session) {
  const auto mover = std::find_if(engines.begin(), engines.end(), [](const std::unique_ptr<Runner>& engine) {
    return moves_states(engine->shape().name.graph);
  });
  if (mover == engines.end()) {
    return {StatusCode::kInvalidArgument,
            "expected a step, advance or encode plan; got none; leave one of Options::step, advance and encode on"};
  }
  auto made = std::make_unique<Session>();
  Status status =
      Arena::create(std::move(device), (*mover)->shape(), options.max_users, options.storage, &made->arena_);
  for (std::unique_ptr<Runner>& engine : engines) {
    if (!status.ok()) return status;
    const EngineShape& shape = engine->shape();
    if (shape.name.graph == Graph::kEncode && shape.states.empty() && shape.max_time < shape.name.window) {
      return {StatusCode::kWrongEngine, "expected an encode plan that takes " + std::to_string(shape.name.window) +
                                            " events, as this model has no state; got one of " +
                                            std::to_string(shape.max_time) +
                                            "; run deployrec build engine with a larger --max-history"};
    }
    std::unique_ptr<BatchRunner>& place = made->runners_[static_cast<size_t>(shape.name.graph)];
    const std::vector<int64_t> batches =
        batch_sizes(shape.name.graph == Graph::kEncode ? std::vector<int64_t>{} : options.batches, shape.max_batch);
    status = BatchRunner::create(std::move(engine), made->arena_, batches, options.max_exclude, &place);
  }
  if (status.ok()) *session = std::move(made);
  return status;
}

Status Session::observe(const Event* events, size_t count) {
  Status status = check_events(events, count, false, bundle().num_items);
  if (!status.ok()) return status;
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
    if (again.count(users[i]) == 0) carried.push_back(i);
  }
  if (!carried.empty()) status = need(Graph::kAdvance, "to observe");
  if (status.ok() && !again.empty()) status = need_to_read_again();
  std::vector<int64_t> slots;
  if (status.ok()) status = arena_->claim(users, &slots);
  if (!status.ok()) return status;

  std::vector<int64_t> carried_users;
  for (const size_t i : carried) carried_users.push_back(users[i]);
  for (const std::vector<size_t>& wave : plan_waves(carried_users)) {
    std::vector<BatchRow> rows;
    for (const size_t place : wave) {
      const size_t i = carried[place];
      rows.push_back({slots[i], &events[i].item_row, 1, {}, 0});
    }
    status = runner(Graph::kAdvance)->run(rows, 0, nullptr);
    if (!status.ok()) return status;
    for (const BatchRow& row : rows) arena_->note(row.slot, row.items, 1);
  }
  std::vector<Reading> readings;
  for (const auto& [user, items] : again) {
    readings.push_back({arena_->slots().find(user), items.data(), static_cast<int64_t>(items.size()), false});
  }
  return read(readings);
}

Status Session::observe_and_recommend(const Event* events, size_t count, int64_t k, Recommendations* recommendations) {
  Status status = check_events(events, count, true, bundle().num_items);
  if (!status.ok()) return status;
  bool has_carried = bundle().window == 0, has_beyond = false;
  if (bundle().window > 0) {
    std::unordered_map<int64_t, int64_t> totals;
    for (size_t i = 0; i < count; ++i) {
      const auto total = totals.try_emplace(events[i].user, events_of(events[i].user)).first;
      (carries(++total->second) ? has_carried : has_beyond) = true;
    }
  }
  if (has_carried) status = need_lists(Graph::kStep, k, "to observe and recommend");
  if (status.ok() && has_beyond) status = need_to_read_again();
  if (status.ok() && has_beyond) status = need_lists(Graph::kScore, k, "for lists after that");
  const std::vector<int64_t> users = users_of(events, count);
  std::vector<int64_t> slots;
  if (status.ok()) status = arena_->claim(users, &slots);
  if (!status.ok()) return status;

  prepare(count, k, recommendations);
  for (const std::vector<size_t>& wave : plan_waves(users)) {
    std::vector<BatchRow> stepped, scored;
    std::vector<Reading> readings;
    for (const size_t i : wave) {
      if (carries(events_in(slots[i]) + 1)) {
        stepped.push_back({slots[i], &events[i].item_row, 1, events[i].exclude, i});
      } else {
        readings.push_back({slots[i], &events[i].item_row, 1, false});
        scored.push_back({slots[i], nullptr, 0, events[i].exclude, i});
      }
    }
    if (!stepped.empty()) status = runner(Graph::kStep)->run(stepped, k, recommendations);
    if (!status.ok()) return status;
    for (const BatchRow& row : stepped) arena_->note(row.slot, row.items, 1);
    status = read(readings);
    if (status.ok() && !scored.empty()) status = runner(Graph::kScore)->run(scored, k, recommendations);
    if (!status.ok()) return status;
  }
  return {};
}

Status Session::recommend(const Request* requests, size_t count, int64_t k, Recommendations* recommendations) {
  Status status = need_lists(Graph::kScore, k, "to recommend");
  for (size_t i = 0; status.ok() && i < count; ++i) {
    status = check_rows("an excluded row", i, requests[i].exclude, 0, bundle().num_items);
  }
  if (!status.ok()) return status;
  prepare(count, k, recommendations);
  std::vector<BatchRow> rows;
  for (size_t i = 0; i < count; ++i) {
    if (events_of(requests[i].user) == 0) continue;
    rows.push_back({arena_->slots().find(requests[i].user), nullptr, 0, requests[i].exclude, i});
  }
  return runner(Graph::kScore)->run(rows, k, recommendations);
}

Status Session::encode(const History* histories, size_t count) {
  Status status = need(Graph::kEncode, "to encode histories");
  for (size_t i = 0; status.ok() && i < count; ++i) {
    status = check_rows("an item row", i, histories[i].items, 1, bundle().num_items);
  }
  const std::vector<int64_t> users = users_of(histories, count);
  std::vector<int64_t> slots;
  if (status.ok()) status = arena_->claim(users, &slots);
  if (!status.ok()) return status;
  for (const std::vector<size_t>& wave : plan_waves(users)) {
    std::vector<Reading> readings;
    for (const size_t i : wave) {
      const ItemRows& items = histories[i].items;
      readings.push_back({slots[i], items.data, static_cast<int64_t>(items.count), !histories[i].resume});
    }
    status = read(readings);
    if (!status.ok()) return status;
  }
  return {};
}

int64_t Session::max_k() const {
  int64_t most = 0;
  for (const Graph graph : {Graph::kStep, Graph::kScore}) {
    if (runner(graph) == nullptr) continue;
    const int64_t own = runner(graph)->shape().name.max_k;
    most = most == 0 ? own : std::min(most, own);
  }
  return most;
}

int64_t Session::events_of(int64_t user) const {
  const int64_t slot = arena_->slots().find(user);
  return slot == SlotTable::kNone ? 0 : events_in(slot);
}

bool Session::carries(int64_t events) const {
  return bundle().window == 0 || (arena_->has_states() && events <= bundle().window);
}

Status Session::need(Graph graph, const std::string& what_for) const {
  if (runner(graph) != nullptr) return {};
  const std::string name = text_of(graph);
  return {StatusCode::kMissingPlan,
          "expected the " + name + " plan " + what_for + "; got none; leave Options::" + name + " on"};
}

Status Session::need_to_read_again() const {
  const std::string window = std::to_string(bundle().window);
  return need(Graph::kEncode, arena_->has_states()
                                  ? "for users with more than " + window + " events, up to which a state is exact,"
                                  : "for a model without a state");
}

Status Session::need_lists(Graph graph, int64_t k, const std::string& what_for) const {
  Status status = need(graph, what_for);
  if (!status.ok()) return status;
  const int64_t most = runner(graph)->shape().name.max_k;
  if (k >= 1 && k <= most) return {};
  return {StatusCode::kInvalidArgument,
          "expected k in 1.." + std::to_string(most) + "; got " + std::to_string(k) +
              (most < bundle().num_items ? "; run deployrec build engine with a larger --max-k"
                                         : "; ask for as many items as there are at most")};
}

Status Session::read(const std::vector<Reading>& readings) {
  std::vector<std::vector<int64_t>> kept(readings.size());  // what users beyond the window are read again from
  std::vector<int64_t> before;
  std::vector<Reading> work;
  for (size_t i = 0; i < readings.size(); ++i) {
    Reading reading = readings[i];
    before.push_back(reading.anew ? 0 : events_in(reading.slot));
    if (reading.count > 0 && !carries(before[i] + reading.count)) {
      arena_->recent().append_newest(reading.slot, before[i], &kept[i]);
      kept[i].insert(kept[i].end(), reading.items, reading.items + reading.count);
      const int64_t newest = std::min(static_cast<int64_t>(kept[i].size()), bundle().window);
      reading = {reading.slot, kept[i].data() + (static_cast<int64_t>(kept[i].size()) - newest), newest, true};
    }
    if (reading.anew) {
      Status status = arena_->zero(reading.slot);
      if (!status.ok()) return status;
    }
    work.push_back(reading);
  }
  Status status = read_stretches(work);
  if (!status.ok()) return status;
  for (size_t i = 0; i < readings.size(); ++i) {
    arena_->slots().set_events(readings[i].slot, before[i]);
    arena_->note(readings[i].slot, readings[i].items, readings[i].count);
  }
  return {};
}

// Each stretch of at most max_time events goes through the engine, the shorter ones drop out.
Status Session::read_stretches(const std::vector<Reading>& readings) {
  int64_t longest = 0;
  for (const Reading& reading : readings) longest = std::max(longest, reading.count);
  if (longest == 0) return {};
  const int64_t most = runner(Graph::kEncode)->shape().max_time;
  for (int64_t first = 0; first < longest; first += most) {
    std::vector<BatchRow> rows;
    for (const Reading& reading : readings) {
      if (reading.count <= first) continue;
      rows.push_back({reading.slot, reading.items + first, std::min(most, reading.count - first), {}, 0});
    }
    // Neighbours of one length waste the least padding.
    std::stable_sort(rows.begin(), rows.end(),
                     [](const BatchRow& a, const BatchRow& b) { return a.item_count > b.item_count; });
    Status status = runner(Graph::kEncode)->run(rows, 0, nullptr);
    if (!status.ok()) return status;
  }
  return {};
}

}  // namespace deployrec
