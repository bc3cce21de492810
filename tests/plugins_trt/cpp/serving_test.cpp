// The serving library's logic on host memory with a toy engine: slots, waves, batches, lists, windows.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <random>
#include <utility>

#include "batching.h"
#include "recordings.h"
#include "world.h"

namespace deployrec::test {
namespace {

// The items and scores of one row.
using Row = std::pair<std::vector<int64_t>, std::vector<float>>;

Row answer(const Recommendations& best, size_t row) {
  const auto first = static_cast<int64_t>(row) * best.k;
  return {{best.item_rows.begin() + first, best.item_rows.begin() + first + best.k},
          {best.scores.begin() + first, best.scores.begin() + first + best.k}};
}

// Every user's whole history, read through the model from the start, its newest `window` events where there is one.
struct Reference {
  int64_t window = 0;
  std::map<int64_t, std::vector<int64_t>> histories;

  Row best(int64_t user, int64_t k, ItemRows exclude = {}) {
    const std::vector<int64_t>& history = histories[user];
    Row row{std::vector<int64_t>(static_cast<size_t>(k)),
            std::vector<float>(static_cast<size_t>(k), -std::numeric_limits<float>::infinity())};
    if (history.empty()) return row;
    ToyModel::State state;
    const auto newest = window > 0 ? std::min(history.size(), static_cast<size_t>(window)) : history.size();
    for (size_t i = history.size() - newest; i < history.size(); ++i) ToyModel::step(history[i], 0, &state);
    float vector[2];
    ToyModel::user(state, vector);
    const auto kept = std::min<size_t>(4, exclude.count);
    ToyModel::recommend(vector, exclude.data + (exclude.count - kept), static_cast<int64_t>(kept), k, row.first.data(),
                        row.second.data());
    return row;
  }
  Row after(const Event& event, int64_t k) {
    histories[event.user].push_back(event.item_row);
    return best(event.user, k, event.exclude);
  }
};

void test_slots() {
  SlotTable slots(2);
  CHECK(slots.add(70) == 0 && slots.add(80) == 1 && slots.add(90) == SlotTable::kNone);
  CHECK(slots.find(80) == 1 && slots.find(90) == SlotTable::kNone);
  slots.set_events(0, 5);
  CHECK(slots.remove(70) && !slots.remove(70) && slots.size() == 1);
  CHECK(slots.add(90) == 0 && slots.owner(0).events == 0 && slots.owner(0).user == 90 && slots.end() == 2);
}

void test_batching() {
  const auto waves = plan_waves({5, 6, 5, 7, 5, 6});
  CHECK((waves == std::vector<std::vector<size_t>>{{0, 1, 3}, {2, 5}, {4}}));
  CHECK(plan_waves({}).empty());
  CHECK((batch_sizes({}, 6) == std::vector<int64_t>{1, 2, 4, 6}));
  CHECK((batch_sizes({}, 1) == std::vector<int64_t>{1}));
  CHECK((batch_sizes({32, 3, 3, 0, 9}, 8) == std::vector<int64_t>{3, 8}));
  CHECK(smallest_batch({1, 4, 8}, 1) == 1 && smallest_batch({1, 4, 8}, 2) == 4 && smallest_batch({1, 4, 8}, 8) == 8);
}

void test_plan_names() {
  const std::string good = "deployrec plan 1 graph=score bundle_id=b1 state_id=s2 num_items=480 window=200 max_k=100";
  PlanName name;
  CHECK(parse_plan_name(good, &name));
  CHECK(name.graph == Graph::kScore && name.bundle_id == "b1" && name.state_id == "s2");
  CHECK(name.num_items == 480 && name.window == 200 && name.max_k == 100);
  CHECK(parse_plan_name("deployrec plan 1 graph=encode bundle_id=b state_id=s num_items=1 window=0 max_k=0", &name));
  const std::pair<const char*, const char*> changes[] = {
      {"plan 1", "plan 2"},       {"graph=score", "graph=scores"},        {"graph=score ", ""},
      {"bundle_id=b1", "bundle_id="}, {"state_id=s2 ", ""},               {"num_items=480", "num_items=0"},
      {"num_items=480", "num_items=-480"}, {"num_items=480", "num_items=48x"}, {"num_items=480", "num_items=4294967296"},
      {"window=200", "window="},  {"window=200", "window=99999999999999999999"}, {"max_k=100", "max_k=0"},
      {"max_k=100", "max_k=100 max_k=100"}, {"max_k=100", "max_k"},       {"deployrec", "0123456789abcdef"},
  };
  for (const auto& [from, to] : changes) {
    std::string bad = good;
    bad.replace(bad.find(from), std::string(from).size(), to);
    CHECK(!parse_plan_name(bad, &name));
  }
  CHECK(!parse_plan_name("", &name));
}

// Any mixture of events, lists, histories and requests in any cut into calls gives what whole histories give.
void test_any_calls_equal_whole_histories(StateStorage storage, const ToyBundle& bundle) {
  std::mt19937 random(3);
  World world(20, bundle, storage);
  Reference reference{bundle.window, {}};
  const bool exact = storage == StateStorage::kFloat32;
  const auto item = [&] { return 1 + static_cast<int64_t>(random() % ToyModel::kItems); };
  for (int call = 0; call < 200; ++call) {
    const int64_t k = 1 + static_cast<int64_t>(random() % ToyModel::kMaxK);
    std::vector<std::vector<int64_t>> lists(1 + random() % 17);
    std::vector<Event> events;
    std::vector<Request> requests;
    std::vector<History> histories;
    const bool is_history = call % 4 == 3;
    for (auto& list : lists) {
      for (size_t i = random() % (is_history ? 19 : 7); i > 0; --i) list.push_back(item());
      const int64_t user = static_cast<int64_t>(random() % 20) - 9;
      events.push_back({user, item(), {list.data(), list.size()}});
      requests.push_back({user, {list.data(), list.size()}});
      histories.push_back({user, {list.data(), list.size()}, random() % 2 == 0});
    }
    Recommendations best;
    if (is_history) {
      CHECK(world.session->encode(histories.data(), histories.size()).ok());
      for (size_t i = 0; i < lists.size(); ++i) {
        std::vector<int64_t>& known = reference.histories[histories[i].user];
        if (!histories[i].resume) known.clear();
        known.insert(known.end(), lists[i].begin(), lists[i].end());
      }
    } else if (call % 4 == 2) {
      CHECK(world.session->observe(events.data(), events.size()).ok());
      for (const Event& event : events) reference.histories[event.user].push_back(event.item_row);
    } else {
      CHECK(world.session->observe_and_recommend(events.data(), events.size(), k, &best).ok());
      for (size_t i = 0; i < events.size(); ++i) {
        const Row expected = reference.after(events[i], k);
        if (exact) CHECK(answer(best, i) == expected);
      }
    }
    CHECK(world.session->recommend(requests.data(), requests.size(), k, &best).ok());
    for (size_t i = 0; i < requests.size(); ++i) {
      const Row expected = reference.best(requests[i].user, k, requests[i].exclude);
      if (exact) CHECK(answer(best, i) == expected);
      CHECK(best.k == k && best.item_rows.size() == requests.size() * static_cast<size_t>(k));
    }
    for (const auto& [user, history] : reference.histories) {
      if (world.slots().find(user) != SlotTable::kNone) {
        CHECK(world.events_of(user) == static_cast<int64_t>(history.size()));
      }
    }
  }
}

// A recording for each batch and each power of two that k lies under, of each graph of its own.
void test_few_recordings() {
  World world(20);
  Recommendations best;
  const Event events[] = {{1, 2, {}}, {2, 3, {}}, {3, 4, {}}};
  const Request requests[] = {{1, {}}, {2, {}}, {3, {}}};
  CHECK(world.session->observe(events, 3).ok());
  for (int64_t k = 1; k <= ToyModel::kMaxK; ++k) {
    CHECK(world.session->observe_and_recommend(events, 1, k, &best).ok());
    CHECK(world.session->recommend(requests, 3, k, &best).ok());
  }
  std::set<WorkKey> expected{{1, 4, 0, 0}};
  for (const int64_t k : {1, 2, 4, 8, 12}) {
    expected.insert({0, 1, k, 4});
    expected.insert({3, 4, k, 4});
  }
  CHECK(world.device->repeated == expected);
}

void test_only_lists_are_scored() {
  World world(4);
  const std::vector<int64_t> items(12, 2);
  const Event events[] = {{1, 2, {}}, {2, 3, {}}, {1, 4, {}}};
  const History history{3, {items.data(), items.size()}, false};
  Recommendations best;
  CHECK(world.session->observe(events, 3).ok());
  CHECK(world.session->encode(&history, 1).ok());
  CHECK(world.ran(Graph::kAdvance) == 2 && world.ran(Graph::kEncode) == 3);
  CHECK(world.ran(Graph::kStep) == 0 && world.ran(Graph::kScore) == 0);
  const Request request{3, {}};
  CHECK(world.session->recommend(&request, 1, 3, &best).ok());
  CHECK(world.session->observe_and_recommend(events, 1, 3, &best).ok());
  CHECK(world.ran(Graph::kStep) == 1 && world.ran(Graph::kScore) == 1 && world.ran(Graph::kAdvance) == 2);
}

void test_users_without_events_get_no_list() {
  World world(4);
  const Event event{1, 2, {}};
  const History empty{2, {}, false};
  CHECK(world.session->observe(&event, 1).ok() && world.session->encode(&empty, 1).ok());
  const Request requests[] = {{3, {}}, {2, {}}, {1, {}}};
  Recommendations best;
  CHECK(world.session->recommend(requests, 3, 2, &best).ok());
  CHECK((std::vector<int64_t>(best.item_rows.begin(), best.item_rows.begin() + 4) == std::vector<int64_t>{0, 0, 0, 0}));
  CHECK(std::isinf(best.scores[0]) && std::isinf(best.scores[3]) && best.item_rows[4] == 3);
}

// What a list is for lies in `k` alone: beyond 1..max_k it is refused, and nothing has happened.
void test_k_is_bounded() {
  World world(4);
  const Event event{1, 2, {}};
  const Request request{1, {}};
  Recommendations best;
  CHECK(world.session->max_k() == ToyModel::kMaxK);
  for (const int64_t k : {int64_t{0}, int64_t{-3}, ToyModel::kMaxK + 1}) {
    for (const Status& status : {world.session->observe_and_recommend(&event, 1, k, &best),
                                 world.session->recommend(&request, 1, k, &best)}) {
      CHECK(status.code() == StatusCode::kInvalidArgument);
      CHECK(status.message() ==
            "expected k in 1..12; got " + std::to_string(k) + "; run deployrec build engine with a larger --max-k");
    }
  }
  CHECK(world.slots().size() == 0 && world.ran(Graph::kStep) == 0);
}

void test_half_storage_rounds() {
  World world(4, {}, StateStorage::kFloat16);
  Reference reference;
  Recommendations best;
  for (int64_t item = 1; item < 30; ++item) {
    const Event event{1, item, {}};
    CHECK(world.session->observe_and_recommend(&event, 1, 1, &best).ok());
    const float exact = reference.after(event, 1).second[0];
    CHECK(std::abs(best.scores[0] - exact) <= 2e-3F * std::abs(exact));
  }
}

// In fp16 a count would stand still at 2,048.
void test_half_storage_counts_on() {
  ToyBundle bundle;
  bundle.window = 3000;
  World world(1, bundle, StateStorage::kFloat16);
  const std::vector<Event> events(2990, {1, 7, {}});
  CHECK(world.session->observe(events.data(), events.size()).ok());
  Recommendations best;
  StateMove move = world.session->arena().move_template(true, false);
  const int64_t slot = 0;
  float values[3][2] = {};
  for (int i = 0; i < move.segments; ++i) move.segment[i].tensor = values[i];
  move.slots = &slot;
  move.batch = 1;
  CHECK(world.device->gather(move).ok());
  CHECK(values[0][0] == 2990.0F);
}

// A user beyond the window is read again once for all events of a call.
void test_a_call_reads_a_user_again_once() {
  ToyBundle bundle;
  bundle.window = 5;
  World world(4, bundle);
  std::vector<Event> events(4, {1, 7, {}});
  CHECK(world.session->observe(events.data(), 4).ok());
  CHECK(world.ran(Graph::kAdvance) == 4 && world.ran(Graph::kEncode) == 0);
  CHECK(world.session->observe(events.data(), 4).ok());
  CHECK(world.ran(Graph::kAdvance) == 4 && world.ran(Graph::kEncode) == 1 && world.events_of(1) == 8);
}

// Without the encode plan an event beyond the window is refused before anything happens, wherever it lies in the call.
void test_beyond_the_window_without_a_way_back() {
  ToyBundle bundle;
  bundle.window = 5;
  for (const Graph missing : {Graph::kEncode, Graph::kScore}) {
    std::vector<Graph> graphs;
    for (const Graph graph : {Graph::kStep, Graph::kAdvance, Graph::kEncode, Graph::kScore}) {
      if (graph != missing) graphs.push_back(graph);
    }
    World world(4, bundle, StateStorage::kFloat32, graphs);
    const std::vector<Event> events(6, {1, 7, {}});
    Recommendations best;
    const Status refused = world.session->observe_and_recommend(events.data(), 6, 2, &best);
    CHECK(refused.code() == StatusCode::kMissingPlan && world.slots().size() == 0);
    CHECK(world.session->observe_and_recommend(events.data(), 5, 2, &best).ok());
    const Status observed = world.session->observe(events.data(), 1);
    if (missing == Graph::kScore) {
      CHECK(observed.ok());
      continue;
    }
    CHECK(observed.code() == StatusCode::kMissingPlan && world.events_of(1) == 5);
    CHECK(observed.message() == "expected the encode graph for users with more than 5 events, up to which a state is "
                                "exact; got none; leave Options::encode on");
  }
}

void test_missing_plans() {
  const Event event{1, 2, {}};
  const Request request{1, {}};
  const History history{1, {&event.item_row, 1}, false};
  Recommendations best;
  World advances(2, {}, StateStorage::kFloat32, {Graph::kAdvance});
  CHECK(advances.session->observe(&event, 1).ok() && advances.session->max_k() == 0);
  for (const Status& status : {advances.session->observe_and_recommend(&event, 1, 1, &best),
                               advances.session->recommend(&request, 1, 1, &best), advances.session->encode(&history, 1)}) {
    CHECK(status.code() == StatusCode::kMissingPlan);
    CHECK(status.message().find("expected the ") == 0 && status.message().find("; got none; ") != std::string::npos);
  }
  CHECK(advances.events_of(1) == 1);
  World steps(2, {}, StateStorage::kFloat32, {Graph::kStep});
  CHECK(steps.session->observe(&event, 1).code() == StatusCode::kMissingPlan && steps.slots().size() == 0);
  std::vector<std::unique_ptr<Runner>> lists;
  lists.push_back(std::make_unique<ToyRunner>(Graph::kScore, 4, 0, ToyBundle{}));
  std::unique_ptr<Session> session;
  const Status status = Session::create(steps.device, std::move(lists), {}, &session);
  CHECK(status.code() == StatusCode::kInvalidArgument && session == nullptr);
}

void test_a_model_without_a_state() {
  ToyBundle bundle;
  bundle.window = 8;
  bundle.has_state = false;
  World world(6, bundle, StateStorage::kFloat32, {Graph::kEncode, Graph::kScore});
  Reference reference{8, {}};
  for (int64_t i = 0; i < 30; ++i) {
    const Event event{i % 3, 1 + i * 7 % ToyModel::kItems, {}};
    Recommendations best;
    if (i % 2 == 0) {
      CHECK(world.session->observe_and_recommend(&event, 1, 4, &best).ok());
    } else {
      const Request request{event.user, {}};
      CHECK(world.session->observe(&event, 1).ok());
      CHECK(world.session->recommend(&request, 1, 4, &best).ok());
    }
    CHECK(answer(best, 0) == reference.after(event, 4));
  }
  std::vector<std::unique_ptr<Runner>> engines;
  engines.push_back(std::make_unique<ToyRunner>(Graph::kEncode, 4, 7, bundle));
  std::unique_ptr<Session> session;
  CHECK(Session::create(world.device, std::move(engines), {}, &session).code() == StatusCode::kWrongEngine);
}

void test_event_counts() {
  World world(3);
  const std::vector<int64_t> items(12, 2);
  const History history{5, {items.data(), items.size()}, false};
  const Event events[] = {{5, 1, {}}, {6, 1, {}}, {5, 2, {}}};
  Recommendations best;
  CHECK(world.session->encode(&history, 1).ok());
  CHECK(world.session->observe_and_recommend(events, 3, 2, &best).ok());
  CHECK(world.session->observe(events, 3).ok());
  CHECK(world.events_of(5) == 16 && world.events_of(6) == 2);
  CHECK(world.session->encode(&history, 1).ok());
  CHECK(world.events_of(5) == 12);
}

void expect_refused(World& world, const Event& bad, StatusCode code) {
  const int64_t before = world.slots().size();
  const Event events[] = {{100, 1, {}}, bad};
  Recommendations best;
  std::vector<Status> statuses{world.session->observe_and_recommend(events, 2, 2, &best)};
  if (bad.exclude.count == 0) statuses.push_back(world.session->observe(events, 2));
  for (const Status& status : statuses) {
    CHECK(status.code() == code);
    CHECK(status.message().find("expected ") == 0 && status.message().find("; got ") != std::string::npos);
  }
  CHECK(world.slots().size() == before);
}

void test_ranges_and_room() {
  World world(2);
  const int64_t below = -1, above = ToyModel::kItems + 1;
  expect_refused(world, {1, 0, {}}, StatusCode::kInvalidArgument);
  expect_refused(world, {1, above, {}}, StatusCode::kInvalidArgument);
  expect_refused(world, {1, 2, {&below, 1}}, StatusCode::kInvalidArgument);
  expect_refused(world, {1, 2, {&above, 1}}, StatusCode::kInvalidArgument);
  const History bad{1, {&above, 1}, false};
  const Request request{1, {&above, 1}};
  Recommendations best;
  CHECK(world.session->encode(&bad, 1).code() == StatusCode::kInvalidArgument);
  CHECK(world.session->recommend(&request, 1, 1, &best).code() == StatusCode::kInvalidArgument);

  const Event two[] = {{1, 3, {}}, {2, 4, {}}};
  CHECK(world.session->observe_and_recommend(two, 2, 2, &best).ok());
  expect_refused(world, {3, 1, {}}, StatusCode::kFull);
  CHECK(world.slots().remove(1));
  const Event next{3, 5, {}};
  CHECK(world.session->observe_and_recommend(&next, 1, 2, &best).ok());
  Reference reference;  // the freed slot starts from nothing
  CHECK(answer(best, 0) == reference.after(next, 2));
}

// Two engines whose bundles differ in one respect.
Status create_mixed(const ToyBundle& one, const ToyBundle& other, const Options& options = {}) {
  std::vector<std::unique_ptr<Runner>> engines;
  engines.push_back(std::make_unique<ToyRunner>(Graph::kStep, 4, 0, one));
  engines.push_back(std::make_unique<ToyRunner>(Graph::kScore, 4, 0, other));
  std::unique_ptr<Session> session;
  const Status status = Session::create(std::make_shared<ToyDevice>(), std::move(engines), options, &session);
  CHECK(status.ok() == (session != nullptr));
  return status;
}

void test_engines_of_other_bundles() {
  CHECK(create_mixed({}, {}).ok());
  ToyBundle other;
  other.bundle_id = "another bundle";
  CHECK(create_mixed({}, other).code() == StatusCode::kWrongEngine);
  ToyBundle wider;
  wider.window = 9;
  CHECK(create_mixed({}, wider).code() == StatusCode::kWrongEngine);
  Options options;
  options.max_exclude = 0;
  CHECK(create_mixed({}, {}, options).code() == StatusCode::kInvalidArgument);
  options = {};
  options.max_users = 0;
  CHECK(create_mixed({}, {}, options).code() == StatusCode::kInvalidArgument);
}

// New users who are neighbours in the arena are cleared at once.
void test_new_users_are_cleared_together() {
  World world(8);
  const int before = world.device->fills;
  const Event events[] = {{1, 2, {}}, {2, 3, {}}, {1, 5, {}}, {3, 4, {}}};
  CHECK(world.session->observe(events, 4).ok() && world.device->fills == before + 1);
  CHECK(world.session->observe(events, 4).ok() && world.device->fills == before + 1);
}

void test_a_call_gives_the_device_in_use_back() {
  const auto device = std::make_shared<ToyDevice>();
  {
    const Selected selected(device);
    CHECK(selected.status().ok() && device->selected == 0);
  }
  CHECK(device->selected == 7);
}

// What cannot be recorded runs as it is, each time, with its results; what can is replayed.
void test_failed_recordings_cost_no_result() {
  std::vector<std::string> lines;
  Recordings<int> recordings([&](const std::string& line) { lines.push_back(line); });
  const WorkKey good{0, 4, 1, 64}, bad{0, 8, 1, 64};
  int worked = 0, replayed = 0, tried = 0;
  const auto call = [&](const WorkKey& key, bool works = true) {
    return recordings.repeat(
        key,
        [&] {
          ++worked;
          return works ? Status{} : Status{StatusCode::kDevice, "no"};
        },
        [&](int recording) {
          CHECK(recording == 5);
          ++replayed;
          return Status{};
        },
        [&](int* recording) {
          ++tried;
          *recording = 5;
          return key == bad ? Status{StatusCode::kDevice, "cannot be captured"} : Status{};
        });
  };
  CHECK(!call(good, false).ok() && tried == 0);  // failed work is not recorded
  for (int i = 0; i < 3; ++i) CHECK(call(bad).ok());
  CHECK(worked == 4 && tried == 1 && replayed == 0);
  for (int i = 0; i < 3; ++i) CHECK(call(good).ok());
  CHECK(worked == 5 && tried == 2 && replayed == 2);
  CHECK(lines.size() == 1 && lines[0].find("cannot be captured") != std::string::npos);
}

// Lists leave out what the user has seen, the new item too, and of too many the oldest come back.
void test_seen_items_are_left_out() {
  World world(4, {}, StateStorage::kFloat32, {Graph::kStep, Graph::kAdvance, Graph::kEncode, Graph::kScore}, {});
  World callers(4);
  Recommendations own, named;
  std::vector<int64_t> seen;
  for (const int64_t item : {7, 8, 7, 9, 10, 11, 8}) {
    seen.erase(std::remove(seen.begin(), seen.end(), item), seen.end());
    seen.push_back(item);
    const Event event{1, item, {}}, with{1, item, {seen.data(), seen.size()}};
    CHECK(world.session->observe_and_recommend(&event, 1, 12, &own).ok());
    CHECK(callers.session->observe_and_recommend(&with, 1, 12, &named).ok());
    const Request request{1, {}}, both{1, {seen.data(), seen.size()}};
    CHECK(world.session->recommend(&request, 1, 12, &own).ok());
    CHECK(callers.session->recommend(&both, 1, 12, &named).ok());
    CHECK(own.item_rows == named.item_rows && own.scores == named.scores);
  }
  CHECK((world.session->arena().slots().owner(0).book.seen == std::vector<int32_t>{7, 9, 10, 11, 8}));
}

// The least recently used user leaves; whoever is in the call does not.
void test_eviction() {
  Options options;
  options.eviction = Eviction::kLeastRecentlyUsed;
  World world(3, {}, StateStorage::kFloat32, {Graph::kAdvance}, options);
  const auto observe = [&](std::vector<int64_t> users) {
    std::vector<Event> events;
    for (const int64_t user : users) events.push_back({user, 5, {}});
    return world.session->observe(events.data(), events.size());
  };
  CHECK(observe({1, 2, 3}).ok() && observe({1}).ok() && observe({4}).ok());
  CHECK(world.slots().find(2) == SlotTable::kNone && world.events_of(1) == 2 && world.events_of(4) == 1);
  CHECK(observe({3, 5}).ok() && world.slots().find(1) == SlotTable::kNone && world.events_of(3) == 2);
  CHECK(observe({6, 7, 8, 9}).code() == StatusCode::kFull && world.slots().size() == 3 && world.events_of(3) == 2);
  CHECK(world.session->arena().counters().evicted == 2 && world.session->arena().counters().new_users == 5);
}

void test_warming_up_moves_nobody() {
  World world(4);
  const Event event{1, 2, {}};
  Recommendations before, after;
  const Request request{1, {}};
  CHECK(world.session->observe(&event, 1).ok() && world.session->recommend(&request, 1, 5, &before).ok());
  CHECK(world.session->warm_up({1, 2}, 5).ok() && world.slots().size() == 1 && world.ran(Graph::kStep) == 3);
  CHECK(world.session->recommend(&request, 1, 5, &after).ok() && before.scores == after.scores);
  CHECK(world.session->warm_up({1}, 99).code() == StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace deployrec::test

// Without arguments all tests; serving_test --plan-name TEXT prints what a plan's name says.
int main(int argc, char** argv) {
  using namespace deployrec;
  using namespace deployrec::test;
  if (argc == 3 && std::string(argv[1]) == "--plan-name") {
    PlanName name;
    if (!parse_plan_name(argv[2], &name)) return 1;
    std::printf("%s %s %s %lld %lld %lld\n", text_of(name.graph), name.bundle_id.c_str(), name.state_id.c_str(),
                static_cast<long long>(name.num_items), static_cast<long long>(name.window),
                static_cast<long long>(name.max_k));
    return 0;
  }
  test_slots();
  test_batching();
  test_plan_names();
  for (const int64_t window : {0, 1, 7, 30}) {
    ToyBundle bundle;
    bundle.window = window;
    test_any_calls_equal_whole_histories(StateStorage::kFloat32, bundle);
    test_any_calls_equal_whole_histories(StateStorage::kFloat16, bundle);
  }
  test_few_recordings();
  test_only_lists_are_scored();
  test_users_without_events_get_no_list();
  test_k_is_bounded();
  test_half_storage_rounds();
  test_half_storage_counts_on();
  test_a_call_reads_a_user_again_once();
  test_beyond_the_window_without_a_way_back();
  test_missing_plans();
  test_a_model_without_a_state();
  test_event_counts();
  test_ranges_and_room();
  test_engines_of_other_bundles();
  test_new_users_are_cleared_together();
  test_a_call_gives_the_device_in_use_back();
  test_failed_recordings_cost_no_result();
  test_seen_items_are_left_out();
  test_eviction();
  test_warming_up_moves_nobody();
  return finish("serving logic");
}
