// The serving library's logic on host memory with a toy engine: slots, waves, batches, checks, stretches, saved states.
#include <cmath>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <map>
#include <random>
#include <utility>

#include "batching.h"
#include "host_device.h"
#include "plan_name.h"
#include "sessions.h"

namespace deployrec::test {
namespace {

struct World {
  std::shared_ptr<HostDevice> device = std::make_shared<HostDevice>();
  std::shared_ptr<Arena> arena;
  std::unique_ptr<BatchRunner> step, encode;

  explicit World(int64_t max_users, StateStorage storage = StateStorage::kFloat32, const char* bundle_id = "toy",
                 int64_t window = 0) {
    CHECK(Arena::create(device, ToyRunner(1, 0, bundle_id).shape(), max_users, storage, &arena).ok());
    auto step_engine = std::make_unique<ToyRunner>(6, 0, bundle_id, window);
    auto encode_engine = std::make_unique<ToyRunner>(4, 5, bundle_id, window);
    CHECK(BatchRunner::create(std::move(step_engine), arena, batch_sizes({}, 6), 512, &step).ok());
    CHECK(BatchRunner::create(std::move(encode_engine), arena, batch_sizes({}, 4), 512, &encode).ok());
  }
};

// The items and scores of one row.
using Row = std::pair<std::vector<int64_t>, std::vector<float>>;

// One user at a time, straight through the model.
struct Reference {
  std::map<int64_t, std::vector<float>> states;

  Row step(const Event& event) {
    std::vector<float>& state = states.emplace(event.user, std::vector<float>(3)).first->second;
    ToyModel::step(event.item_row, state.data(), state.data() + 2);
    Row row{std::vector<int64_t>(ToyModel::kBest), std::vector<float>(ToyModel::kBest)};
    const auto kept = static_cast<int64_t>(std::min<size_t>(4, event.exclude_count));
    const int64_t* exclude = event.exclude_rows + static_cast<int64_t>(event.exclude_count) - kept;
    ToyModel::recommend(state.data(), state.data() + 2, exclude, kept, row.first.data(), row.second.data());
    return row;
  }
};

Row answer(const Recommendations& best, size_t row) {
  const auto first = static_cast<int64_t>(row) * best.k;
  return {{best.item_rows.begin() + first, best.item_rows.begin() + first + best.k},
          {best.scores.begin() + first, best.scores.begin() + first + best.k}};
}

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

// Any mixture of events in any cut into calls gives what one-by-one gives.
void test_steps_equal_one_by_one(StateStorage storage) {
  std::mt19937 random(3);
  World world(20, storage);
  Reference reference;
  for (int call = 0; call < 40; ++call) {
    std::vector<Event> events;
    std::vector<std::vector<int64_t>> excludes(1 + random() % 17);
    for (auto& exclude : excludes) {
      for (size_t i = random() % 7; i > 0; --i) exclude.push_back(static_cast<int64_t>(random() % 51));
      events.push_back({static_cast<int64_t>(random() % 20) - 9, 1 + static_cast<int64_t>(random() % 8) * 4,
                        exclude.data(), exclude.size()});
    }
    Recommendations best;
    CHECK(run_step(*world.step, events.data(), events.size(), &best).ok());
    for (size_t i = 0; i < events.size(); ++i) {
      const auto expected = reference.step(events[i]);
      if (storage == StateStorage::kFloat32) CHECK(answer(best, i) == expected);
    }
  }
  CHECK((world.device->repeated == std::set<int64_t>{1, 2, 4, 6}));
}

void test_half_storage_rounds() {
  World world(4, StateStorage::kFloat16);
  Reference reference;
  Recommendations best;
  for (int64_t item = 1; item < 30; ++item) {
    const Event event{1, item, nullptr, 0};
    CHECK(run_step(*world.step, &event, 1, &best).ok());
    reference.step(event);
    const float exact = reference.states[1][1] + reference.states[1][2];
    CHECK(std::abs(best.scores[0] - exact) <= 2e-3F * exact);
  }
}

// Histories longer than the engine takes, resumed or not, then steps: the state is that of all events one by one.
void test_encode_equals_steps() {
  std::mt19937 random(5);
  World world(10);
  Reference reference;
  for (int call = 0; call < 30; ++call) {
    std::vector<std::vector<int64_t>> items(1 + random() % 9);
    std::vector<History> histories;
    for (auto& history : items) {
      for (size_t i = random() % 14; i > 0; --i) history.push_back(1 + static_cast<int64_t>(random() % 50));
      histories.push_back(
          {static_cast<int64_t>(random() % 10), history.data(), history.size(), nullptr, 0, random() % 2 == 0});
    }
    Recommendations best;
    CHECK(run_encode(*world.encode, histories.data(), histories.size(), &best).ok());
    for (size_t i = 0; i < histories.size(); ++i) {
      if (!histories[i].resume) reference.states[histories[i].user] = std::vector<float>(3);
      Row expected{std::vector<int64_t>(ToyModel::kBest), std::vector<float>(ToyModel::kBest, -INFINITY)};  // of none
      for (const int64_t item : items[i]) expected = reference.step({histories[i].user, item, nullptr, 0});
      CHECK(answer(best, i) == expected);
    }
    const Event event{static_cast<int64_t>(random() % 10), 7, nullptr, 0};
    CHECK(run_step(*world.step, &event, 1, &best).ok());
    CHECK(answer(best, 0) == reference.step(event));
  }
}

void test_event_counts() {
  World world(3);
  const std::vector<int64_t> items(12, 2);
  const History history{5, items.data(), items.size(), nullptr, 0, false};
  const Event events[] = {{5, 1, nullptr, 0}, {6, 1, nullptr, 0}, {5, 2, nullptr, 0}};
  Recommendations best;
  CHECK(run_encode(*world.encode, &history, 1, &best).ok());
  CHECK(run_step(*world.step, events, 3, &best).ok());
  SlotTable& slots = world.arena->slots();
  CHECK(slots.owner(slots.find(5)).events == 14 && slots.owner(slots.find(6)).events == 1);
  CHECK(run_encode(*world.encode, &history, 1, &best).ok());
  CHECK(slots.owner(slots.find(5)).events == 12);
}

void expect_refused(World& world, const Event& bad, StatusCode code) {
  const int64_t before = world.arena->slots().size();
  const Event events[] = {{100, 1, nullptr, 0}, bad};
  Recommendations best;
  const Status status = run_step(*world.step, events, 2, &best);
  CHECK(status.code() == code);
  CHECK(status.message().find("expected ") == 0 && status.message().find("; got ") != std::string::npos);
  CHECK(world.arena->slots().size() == before);
}

void test_ranges_and_room() {
  World world(2);
  const int64_t below = -1, above = ToyModel::kItems + 1;
  expect_refused(world, {1, 0, nullptr, 0}, StatusCode::kInvalidArgument);
  expect_refused(world, {1, above, nullptr, 0}, StatusCode::kInvalidArgument);
  expect_refused(world, {1, 2, &below, 1}, StatusCode::kInvalidArgument);
  expect_refused(world, {1, 2, &above, 1}, StatusCode::kInvalidArgument);
  const History bad{1, &above, 1, nullptr, 0, false};
  Recommendations best;
  CHECK(run_encode(*world.encode, &bad, 1, &best).code() == StatusCode::kInvalidArgument);

  const Event two[] = {{1, 3, nullptr, 0}, {2, 4, nullptr, 0}};
  CHECK(run_step(*world.step, two, 2, &best).ok());
  expect_refused(world, {3, 1, nullptr, 0}, StatusCode::kFull);
  CHECK(world.arena->slots().remove(1));
  const Event next{3, 5, nullptr, 0};
  CHECK(run_step(*world.step, &next, 1, &best).ok());
  Reference reference;  // the freed slot starts from nothing
  CHECK(answer(best, 0) == reference.step(next));
}

// A state that holds a window is never stepped beyond it, whatever the events come in; a new start reads the newest.
void test_windows() {
  World world(4, StateStorage::kFloat32, "toy", 3);
  const std::vector<int64_t> items = {9, 8, 7, 6, 5};
  Recommendations best;
  const auto step = [&](int64_t user, size_t count) {
    const std::vector<Event> events(count, Event{user, 4, nullptr, 0});
    return run_step(*world.step, events.data(), events.size(), &best);
  };
  const auto encode = [&](int64_t user, size_t count, bool resume) {
    const History history{user, items.data(), count, nullptr, 0, resume};
    return run_encode(*world.encode, &history, 1, &best);
  };
  const SlotTable& slots = world.arena->slots();
  const auto events_of = [&](int64_t user) { return slots.owner(slots.find(user)).events; };
  CHECK(step(1, 4).code() == StatusCode::kBeyondWindow);
  CHECK(world.arena->slots().size() == 0);
  CHECK(step(1, 2).ok() && step(1, 1).ok());
  const Status refused = step(1, 1);
  CHECK(refused.code() == StatusCode::kBeyondWindow && refused.message().find("got 4 of user 1") != std::string::npos);
  CHECK(events_of(1) == 3);
  CHECK(encode(1, 1, true).code() == StatusCode::kBeyondWindow && events_of(1) == 3);
  CHECK(encode(1, 2, false).ok() && events_of(1) == 2 && encode(1, 1, true).ok() && events_of(1) == 3);
  CHECK(encode(2, 5, true).code() == StatusCode::kBeyondWindow);
  CHECK(encode(2, 5, false).ok() && events_of(2) == 3);
  Reference reference;
  Row expected;
  for (const int64_t item : {7, 6, 5}) expected = reference.step({2, item, nullptr, 0});
  CHECK(answer(best, 0) == expected);
  const History twice[] = {{3, items.data(), 2, nullptr, 0, false}, {3, items.data(), 2, nullptr, 0, true}};
  CHECK(run_encode(*world.encode, twice, 2, &best).code() == StatusCode::kBeyondWindow);
  CHECK(world.arena->slots().find(3) == SlotTable::kNone);
}

void test_plan_names() {
  EngineShape shape;
  CHECK(parse_plan_name("deployrec 1 b5 5e 480 200", &shape));
  CHECK(shape.bundle_id == "b5" && shape.state_id == "5e" && shape.num_items == 480 && shape.window == 200);
  for (const char* name : {"", "b5", "deployrec 2 b5 5e 480 0", "deployrec 1 b5 5e 480", "deployrec 1 b5 5e 0 0",
                           "deployrec 1 b5 5e 480 -1", "deployrec 1 b5 5e 480 0 7", "deployrec 1 b5 5e x 0",
                           "deployrec 1 b5 5e 99999999999999999999 0"}) {
    CHECK(!parse_plan_name(name, &shape));
  }
}

void test_engines_of_other_bundles() {
  World world(2);
  std::unique_ptr<BatchRunner> runner;
  Status status = BatchRunner::create(std::make_unique<ToyRunner>(4, 5, "another"), world.arena, {1, 4}, 512, &runner);
  CHECK(status.code() == StatusCode::kWrongEngine && runner == nullptr);
  status = BatchRunner::create(std::make_unique<ToyRunner>(4, 5), world.arena, {1, 4}, 0, &runner);
  CHECK(status.code() == StatusCode::kInvalidArgument);
  std::shared_ptr<Arena> arena;
  status = Arena::create(world.device, ToyRunner(1, 0).shape(), 0, StateStorage::kFloat32, &arena);
  CHECK(status.code() == StatusCode::kInvalidArgument && arena == nullptr);
}

void step_users(World& world, int64_t users, int64_t item) {
  Recommendations best;
  for (int64_t user = 0; user < users; ++user) {
    const Event event{user, item + user % 7, nullptr, 0};
    CHECK(run_step(*world.step, &event, 1, &best).ok());
  }
}

std::vector<float> scores_after(World& world, int64_t users) {
  std::vector<float> scores;
  Recommendations best;
  for (int64_t user = 0; user < users; ++user) {
    const Event event{user, 9, nullptr, 0};
    CHECK(run_step(*world.step, &event, 1, &best).ok());
    scores.push_back(best.scores[0]);
  }
  return scores;
}

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void write_file(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

void test_save_and_restore(StateStorage storage, const std::string& path) {
  World world(40, storage);
  step_users(world, 30, 3);
  for (const int64_t user : {0, 7, 8, 29}) CHECK(world.arena->slots().remove(user));  // holes in the arena
  CHECK(world.arena->save(path).ok());
  CHECK(read_file(path + ".tmp").empty());

  World other(30, storage);
  step_users(other, 5, 20);
  CHECK(other.arena->restore(path).ok());
  CHECK(other.arena->slots().size() == 26 && other.arena->slots().find(7) == SlotTable::kNone);
  CHECK(other.arena->slots().owner(other.arena->slots().find(9)).events == 1);
  CHECK(scores_after(world, 30) == scores_after(other, 30));
}

void test_refused_files(const std::string& path) {
  World world(40);
  step_users(world, 12, 3);
  CHECK(world.arena->save(path).ok());

  World stale(40, StateStorage::kFloat32, "a newer bundle");
  CHECK(stale.arena->restore(path).code() == StatusCode::kStaleState);
  World half(40, StateStorage::kFloat16);
  CHECK(half.arena->restore(path).code() == StatusCode::kStaleState);
  World small(11);
  CHECK(small.arena->restore(path).code() == StatusCode::kFull);
  CHECK(small.arena->restore(path + ".absent").code() == StatusCode::kFile);
  CHECK(world.arena->save("/no such folder/states").code() == StatusCode::kFile);

  const std::string good = read_file(path);
  World target(40);
  step_users(target, 3, 5);
  for (size_t at = 0; at < good.size(); at += 3) {  // a flipped bit anywhere, and a cut anywhere
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 0x10);
    write_file(path, bad);
    CHECK(!target.arena->restore(path).ok());
    write_file(path, good.substr(0, at));
    CHECK(target.arena->restore(path).code() == StatusCode::kFile);
  }
  write_file(path, good + "x");
  CHECK(target.arena->restore(path).code() == StatusCode::kFile);
  World untouched(40);
  step_users(untouched, 3, 5);
  CHECK(scores_after(target, 3) == scores_after(untouched, 3));
}

}  // namespace
}  // namespace deployrec::test

int main(int argc, char** argv) {
  using namespace deployrec;
  using namespace deployrec::test;
  const std::string path = (argc > 1 ? std::string(argv[1]) : std::string(".")) + "/serving_test.states";
  test_slots();
  test_batching();
  test_steps_equal_one_by_one(StateStorage::kFloat32);
  test_steps_equal_one_by_one(StateStorage::kFloat16);
  test_half_storage_rounds();
  test_encode_equals_steps();
  test_event_counts();
  test_ranges_and_room();
  test_windows();
  test_plan_names();
  test_engines_of_other_bundles();
  test_save_and_restore(StateStorage::kFloat32, path);
  test_save_and_restore(StateStorage::kFloat16, path);
  test_refused_files(path);
  std::remove(path.c_str());
  return finish("serving logic");
}
