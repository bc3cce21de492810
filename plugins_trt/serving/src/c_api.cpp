// deployrec.h over Recommender.
#include <algorithm>
#include <cstring>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "c_error.h"
#include "c_options.h"
#include "deployrec.h"
#include "deployrec/serving.h"

using deployrec::answer;
using deployrec::answered;
using deployrec::Status;
using deployrec::StatusCode;

struct deployrec_recommender {
  std::unique_ptr<deployrec::Recommender> recommender;
};

namespace deployrec {

std::string& last_error() {
  thread_local std::string line;
  return line;
}

namespace {

constexpr deployrec_choice kAll{0, nullptr, 0, nullptr, 0};

std::optional<ItemRows> only_of(const deployrec_choice& choice) {
  if (choice.is_limited == 0) return std::nullopt;
  return ItemRows{choice.only, choice.only_count};
}

std::vector<Event> events_of(const int64_t* users, const int64_t* item_rows, size_t count,
                             const deployrec_choice& choice = kAll) {
  std::vector<Event> events;
  events.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    events.push_back({users[i], item_rows[i], {choice.exclude, choice.exclude_count}, only_of(choice)});
  }
  return events;
}

void copy(const Recommendations& best, int64_t* rows, float* scores) {
  std::copy(best.item_rows.begin(), best.item_rows.end(), rows);
  std::copy(best.scores.begin(), best.scores.end(), scores);
}

}  // namespace
}  // namespace deployrec

const char* deployrec_error(void) { return deployrec::last_error().c_str(); }

int deployrec_load(const deployrec_options* options, deployrec_recommender** recommender) {
  return answered([&] {
    auto made = std::make_unique<deployrec_recommender>();
    Status status = deployrec::Recommender::load(options->options, &made->recommender);
    if (status.ok()) *recommender = made.release();
    return status;
  });
}

void deployrec_free(deployrec_recommender* recommender) { delete recommender; }

int deployrec_observe(deployrec_recommender* recommender, const int64_t* users, const int64_t* item_rows,
                      size_t count) {
  return answered([&] {
    const std::vector<deployrec::Event> events = deployrec::events_of(users, item_rows, count);
    return recommender->recommender->observe(events.data(), count);
  });
}

int deployrec_observe_and_recommend(deployrec_recommender* recommender, const int64_t* users, const int64_t* item_rows,
                                    size_t count, int64_t k, int64_t* best_rows, float* scores) {
  return deployrec_observe_and_recommend_among(recommender, users, item_rows, count, &deployrec::kAll, k, best_rows,
                                               scores);
}

int deployrec_observe_and_recommend_among(deployrec_recommender* recommender, const int64_t* users,
                                          const int64_t* item_rows, size_t count, const deployrec_choice* choice,
                                          int64_t k, int64_t* best_rows, float* scores) {
  return answered([&] {
    const std::vector<deployrec::Event> events = deployrec::events_of(users, item_rows, count, *choice);
    deployrec::Recommendations best;
    Status status = recommender->recommender->observe_and_recommend(events.data(), count, k, &best);
    if (status.ok()) deployrec::copy(best, best_rows, scores);
    return status;
  });
}

int deployrec_recommend(deployrec_recommender* recommender, const int64_t* users, size_t count, int64_t k,
                        int64_t* best_rows, float* scores) {
  return deployrec_recommend_among(recommender, users, count, &deployrec::kAll, k, best_rows, scores);
}

int deployrec_recommend_among(deployrec_recommender* recommender, const int64_t* users, size_t count,
                              const deployrec_choice* choice, int64_t k, int64_t* best_rows, float* scores) {
  return answered([&] {
    std::vector<deployrec::Request> requests(count);
    for (size_t i = 0; i < count; ++i) {
      requests[i] = {users[i], {choice->exclude, choice->exclude_count}, deployrec::only_of(*choice)};
    }
    deployrec::Recommendations best;
    Status status = recommender->recommender->recommend(requests.data(), count, k, &best);
    if (status.ok()) deployrec::copy(best, best_rows, scores);
    return status;
  });
}

int deployrec_encode(deployrec_recommender* recommender, int64_t user, const int64_t* item_rows, size_t count,
                     int resume) {
  const deployrec::History history{user, {item_rows, count}, resume != 0};
  return answer(recommender->recommender->encode(&history, 1));
}

int deployrec_forget(deployrec_recommender* recommender, int64_t user) {
  return answer(recommender->recommender->forget(user));
}

int deployrec_warm_up(deployrec_recommender* recommender, const int64_t* batches, size_t count, int64_t k) {
  return answered([&] {
    return recommender->recommender->warm_up(std::vector<int64_t>(batches, batches + count), k);
  });
}

int deployrec_save(deployrec_recommender* recommender, const char* path) {
  return answered([&] { return recommender->recommender->save(path); });
}

int deployrec_restore(deployrec_recommender* recommender, const char* path) {
  return answered([&] { return recommender->recommender->restore(path); });
}

int deployrec_export_user(deployrec_recommender* recommender, int64_t user, void* record, size_t* size) {
  return answered([&]() -> Status {
    std::string bytes;
    Status status = recommender->recommender->export_user(user, &bytes);
    if (!status.ok()) return status;
    const size_t room = *size;
    *size = bytes.size();
    if (room < bytes.size()) {
      return {StatusCode::kInvalidArgument, "expected room for " + std::to_string(bytes.size()) + " bytes; got " +
                                                std::to_string(room) + "; call again with so much"};
    }
    std::memcpy(record, bytes.data(), bytes.size());
    return {};
  });
}

int deployrec_import_user(deployrec_recommender* recommender, int64_t user, const void* record, size_t size) {
  return answered([&] {
    return recommender->recommender->import_user(user, std::string(static_cast<const char*>(record), size));
  });
}

int deployrec_swap_bundle(deployrec_recommender* recommender, const deployrec_options* options) {
  return answer(recommender->recommender->swap_bundle(options->options));
}

int64_t deployrec_users(const deployrec_recommender* recommender) { return recommender->recommender->users(); }

int64_t deployrec_user_list(const deployrec_recommender* recommender, int64_t* users, size_t room) {
  const std::vector<int64_t> all = recommender->recommender->user_list();
  std::copy_n(all.begin(), std::min(room, all.size()), users);
  return static_cast<int64_t>(all.size());
}

int64_t deployrec_events_of(const deployrec_recommender* recommender, int64_t user) {
  return recommender->recommender->events_of(user);
}

int64_t deployrec_num_items(const deployrec_recommender* recommender) { return recommender->recommender->num_items(); }

int64_t deployrec_max_k(const deployrec_recommender* recommender) { return recommender->recommender->max_k(); }

double deployrec_counter(const deployrec_recommender* recommender, const char* name) {
  const deployrec::Counters counters = recommender->recommender->counters();
  const std::map<std::string, double> values{
      {"calls", counters.calls},         {"failed_calls", counters.failed_calls},
      {"events", counters.events},       {"lists", counters.lists},
      {"runs", counters.runs},           {"rows", counters.rows},
      {"padded_rows", counters.padded_rows}, {"read_again", counters.read_again},
      {"new_users", counters.new_users}, {"evicted", counters.evicted},
      {"expired", counters.expired},     {"run_seconds", counters.run_seconds}};
  const auto found = values.find(name);
  return found == values.end() ? -1 : found->second;
}
