// Files of saved states: what comes back, and what is refused.
#include <cmath>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <string>

#include "half.h"
#include "record.h"
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
  World stale(40, retrained), other_window(40, wider), half(40, bundle, StateStorage::kFloat16);
  CHECK(stale.session->arena().restore(path).code() == StatusCode::kStaleState);
  CHECK(other_window.session->arena().restore(path).code() == StatusCode::kFile);
  CHECK(half.session->arena().restore(path).ok());  // a record is one whatever the arena's storage
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
  std::string record;
  CHECK(world.session->export_user(1, &record).ok());
  Record good;
  CHECK(unpack(world.session->arena().record_layout(), record, &good).ok());
  const auto forged = [&](const std::vector<std::string>& users, const Record& forgery) {
    StateFileWriter writer(path, bundle.state_id, "{}", users.size());
    for (const std::string& user : users) writer.add(user, pack(forgery));
    CHECK(writer.finish().ok());
    return world.session->arena().restore(path).code();
  };
  CHECK(forged({"5", "-6"}, good) == StatusCode::kOk && world.events_of(-6) == 1);
  for (const auto& users : std::vector<std::vector<std::string>>{
           {"5", "5"}, {"alice"}, {"05"}, {""}, {"-"}, {"9223372036854775808"}, {"1.5"}}) {
    CHECK(forged(users, good) == StatusCode::kFile);
  }
  CHECK(forged({"1", "2", "3", "4", "5"}, good) == StatusCode::kFull);
  for (const int32_t item : {0, -1, static_cast<int32_t>(ToyModel::kItems) + 1}) {
    Record record_of = good, seen = good;
    record_of.window[1] = item;
    seen.book.seen[0] = item;
    CHECK(forged({"1"}, record_of) == StatusCode::kFile && forged({"1"}, seen) == StatusCode::kFile);
  }
  Record fewer_events = good, more_events = good, no_state = good, no_number = good;
  fewer_events.events = -1;
  more_events.events = 9;  // more than the window holds
  no_state.state.clear();
  no_number.state[0] = std::nanf("");
  for (const Record& bad : {fewer_events, more_events, no_state, no_number}) {
    CHECK(forged({"1"}, bad) == StatusCode::kFile);
  }
  CHECK(world.slots().size() == 2 && world.events_of(-6) == 1);
}

// Every piece of a record, those that C++ itself never makes too, comes out as it went in.
void test_records_are_kept_whole() {
  ToyBundle bundle;
  bundle.window = 3;
  for (const bool is_half : {false, true}) {
    Record record;
    record.events = 4;
    record.book = {9, 0x1234, 1.5, 1'700'000'000'123'456'789, 17, is_half, {7, 3, 50}, std::string(16, 'h'), std::string("\0id", 3), "{\"\": 4}"};
    record.user = {1.5F, -2.0F};
    record.window = {7, 3, 50};
    record.state = {3, 0.5F, 0.25F, 8, -1};
    World world(2, bundle);
    CHECK(world.session->import_user(4, pack(record)).ok() && world.events_of(4) == 4);
    std::string back;
    CHECK(world.session->export_user(4, &back).ok() && back == pack(record));
    const Event event{4, 3, {}};
    Record after;
    CHECK(world.session->observe(&event, 1).ok() && world.session->export_user(4, &back).ok());
    CHECK(unpack(world.session->arena().record_layout(), back, &after).ok());
    CHECK(after.book.version == 10 && after.book.position == 17 && after.events == 5 && after.book.event_id.empty());
    CHECK((after.book.seen == std::vector<int32_t>{7, 50, 3}) && (after.window == std::vector<int32_t>{3, 50, 3}));
    CHECK(after.book.event_hashes == record.book.event_hashes && after.book.sequences == record.book.sequences);
    CHECK(after.book.last_time == kNoTime && after.book.is_half == is_half && after.book.writer != 0x1234);
    std::string cut = pack(record);
    for (size_t size = 0; size < cut.size(); ++size) {
      CHECK(world.session->import_user(5, cut.substr(0, size)).code() == StatusCode::kFile);
    }
    CHECK(world.session->export_user(5, &back).code() == StatusCode::kInvalidArgument);
  }
}

// float16 and back, each of the 65,536, and rounding to the nearest even between neighbours.
void test_half_numbers() {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto half = static_cast<Half>(bits);
    const float value = host_half_to_float(half);
    CHECK(std::isnan(value) ? (host_float_to_half(value) & 0x7e00) == 0x7e00 : host_float_to_half(value) == half);
    const auto next = static_cast<Half>(half + 1);
    if ((half & 0x7fff) >= 0x7bff) continue;
    const float middle = 0.5F * (value + host_half_to_float(next));
    CHECK(host_float_to_half(middle) == ((half & 1) == 0 ? half : next));
    CHECK(host_float_to_half(std::nextafter(middle, value)) == half);
  }
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
  test_records_are_kept_whole();
  test_half_numbers();
  std::remove(path.c_str());
  return finish("state files");
}
