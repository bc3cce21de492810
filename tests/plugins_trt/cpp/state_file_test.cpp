// Files of saved states: what comes back, and what is refused.
#include <cstdio>
#include <fstream>
#include <iterator>
#include <string>

#include "state_file.h"
#include "world.h"

namespace deployrec::test {
namespace {

void observe_users(World& world, int64_t users, int64_t item) {
  for (int64_t user = 0; user < users; ++user) {
    const Event event{user, item + user % 7, {}};
    CHECK(world.session->observe(&event, 1).ok());
  }
}

std::vector<float> scores_after(World& world, int64_t users) {
  std::vector<float> scores;
  Recommendations best;
  for (int64_t user = 0; user < users; ++user) {
    const Event event{user, 9, {}};
    CHECK(world.session->observe_and_recommend(&event, 1, 1, &best).ok());
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
  for (const int64_t window : {0, 3}) {
    ToyBundle bundle;
    bundle.window = window;
    World world(40, bundle, storage);
    for (int64_t item = 3; item < 8; ++item) observe_users(world, 30, item);
    for (const int64_t user : {0, 7, 8, 29}) CHECK(world.slots().remove(user));  // holes in the arena
    CHECK(world.session->arena().save(path).ok());
    CHECK(read_file(path + ".tmp").empty());

    bundle.bundle_id = "the same model with other titles";  // states hang on state_id alone
    World other(30, bundle, storage);
    observe_users(other, 5, 20);
    CHECK(other.session->arena().restore(path).ok());
    CHECK(other.slots().size() == 26 && other.slots().find(7) == SlotTable::kNone && other.events_of(9) == 5);
    const Request requests[] = {{9, {}}, {12, {}}};
    Recommendations before, after;
    CHECK(world.session->recommend(requests, 2, 4, &before).ok() && other.session->recommend(requests, 2, 4, &after).ok());
    CHECK(before.item_rows == after.item_rows && before.scores == after.scores);
    CHECK(scores_after(world, 30) == scores_after(other, 30));
  }
}

void test_refused_files(const std::string& path) {
  ToyBundle bundle;
  bundle.window = 2;
  World world(40, bundle);
  for (int64_t item = 3; item < 6; ++item) observe_users(world, 12, item);
  CHECK(world.session->arena().save(path).ok());

  ToyBundle retrained = bundle, wider = bundle;
  retrained.state_id = "other weights";
  wider.window = 3;
  for (const ToyBundle& other : {retrained, wider}) {
    World stale(40, other);
    CHECK(stale.session->arena().restore(path).code() == StatusCode::kStaleState);
  }
  World half(40, bundle, StateStorage::kFloat16);
  CHECK(half.session->arena().restore(path).code() == StatusCode::kStaleState);
  World small(11, bundle);
  CHECK(small.session->arena().restore(path).code() == StatusCode::kFull);
  CHECK(small.session->arena().restore(path + ".absent").code() == StatusCode::kFile);
  CHECK(world.session->arena().save("/no such folder/states").code() == StatusCode::kFile);

  const std::string good = read_file(path);
  World target(40, bundle);
  observe_users(target, 3, 5);
  for (size_t at = 0; at < good.size(); at += 3) {  // a flipped bit anywhere, and a cut anywhere
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 0x10);
    write_file(path, bad);
    CHECK(!target.session->arena().restore(path).ok());
    write_file(path, good.substr(0, at));
    CHECK(target.session->arena().restore(path).code() == StatusCode::kFile);
  }
  write_file(path, good + "x");
  CHECK(target.session->arena().restore(path).code() == StatusCode::kFile);
  World untouched(40, bundle);
  observe_users(untouched, 3, 5);
  CHECK(scores_after(target, 3) == scores_after(untouched, 3));
}

// A file whose checksum is right and whose users are not: items of no row would read beyond the item table.
void test_forged_files(const std::string& path) {
  ToyBundle bundle;
  bundle.window = 2;
  World world(4, bundle);
  observe_users(world, 2, 3);
  CHECK(world.session->arena().save(path).ok());
  StateFileReader reader;
  CHECK(reader.open(path).ok());
  const StateFileHeader good = reader.header();
  const auto forged = [&](const StateFileHeader& header) {
    const auto rows = [&](size_t, size_t count, unsigned char* to) {
      std::memset(to, 0, count * header.row_bytes);
      return Status{};
    };
    CHECK(write_states(path, header, rows).ok());
    return world.session->arena().restore(path).code();
  };
  CHECK(forged(good) == StatusCode::kOk);
  for (const int64_t item : {int64_t{0}, int64_t{-1}, ToyModel::kItems + 1}) {
    StateFileHeader header = good;
    header.recent[1] = item;
    CHECK(forged(header) == StatusCode::kFile);
  }
  StateFileHeader more_events = good, fewer_events = good, no_items = good;
  more_events.users[1].events = 9;
  fewer_events.users[1].events = -1;
  no_items.recent.clear();
  for (const StateFileHeader& header : {more_events, fewer_events, no_items}) CHECK(forged(header) == StatusCode::kFile);
}

}  // namespace
}  // namespace deployrec::test

int main(int argc, char** argv) {
  using namespace deployrec;
  using namespace deployrec::test;
  const std::string path = (argc > 1 ? std::string(argv[1]) : std::string(".")) + "/state_file_test.states";
  test_save_and_restore(StateStorage::kFloat32, path);
  test_save_and_restore(StateStorage::kFloat16, path);
  test_refused_files(path);
  test_forged_files(path);
  std::remove(path.c_str());
  return finish("state files");
}
