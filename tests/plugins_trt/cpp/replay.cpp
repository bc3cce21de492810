// Runs scripts of calls against one Recommender, a thread for each, and writes each script's answers beside it:
//   replay BUNDLE LANES MAX_EXCLUDE SCRIPT...
//
//   o N (USER ROW)...        observe
//   r N K (USER ROW)...      observe and recommend: a line of K times ROW SCORE for each event
//   l N K USER...            recommend: a line for each user
//   c USER ROW K N ROW... M ROW...   the same of one user with N rows that may come and M that may not; observes ROW
//                            first unless it is 0
//   e USER RESUME N ROW...   encode
//   f USER                   forget
//   x USER                   export and import again: the size of the record
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "deployrec/serving.h"

namespace {

using deployrec::Recommender;
using deployrec::Status;

void stop_unless_ok(const Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", status.message().c_str());
  std::exit(1);
}

class Script {
 public:
  Script(Recommender& recommender, const std::string& path)
      : recommender_(recommender), in_(path), out_(path + ".out") {
    out_.precision(9);
  }
  void run() {
    for (char kind = 0; in_ >> kind;) {
      if (kind == 'o' || kind == 'r') events(kind == 'r');
      if (kind == 'l') lists();
      if (kind == 'c') chosen();
      if (kind == 'e') encode();
      if (kind == 'f') stop_unless_ok(recommender_.forget(number()));
      if (kind == 'x') exported();
    }
  }

 private:
  int64_t number() {
    int64_t value = 0;
    in_ >> value;
    return value;
  }
  void events(bool with_lists) {
    const int64_t count = number(), k = with_lists ? number() : 0;
    std::vector<deployrec::Event> events;
    for (int64_t i = 0; i < count; ++i) {
      const int64_t user = number();
      events.push_back({user, number()});
    }
    deployrec::Recommendations best;
    stop_unless_ok(with_lists ? recommender_.observe_and_recommend(events.data(), events.size(), k, &best)
                              : recommender_.observe(events.data(), events.size()));
    print(best);
  }
  void lists() {
    const int64_t count = number(), k = number();
    std::vector<deployrec::Request> requests(static_cast<size_t>(count));
    for (deployrec::Request& request : requests) request.user = number();
    deployrec::Recommendations best;
    stop_unless_ok(recommender_.recommend(requests.data(), requests.size(), k, &best));
    print(best);
  }
  std::vector<int64_t> numbers() {
    std::vector<int64_t> values(static_cast<size_t>(number()));
    for (int64_t& value : values) value = number();
    return values;
  }
  void chosen() {
    const int64_t user = number(), row = number(), k = number();
    const std::vector<int64_t> only = numbers(), exclude = numbers();
    const deployrec::ItemRows may{only.data(), only.size()}, may_not{exclude.data(), exclude.size()};
    const deployrec::Event event{user, row, may_not, may};
    const deployrec::Request request{user, may_not, may};
    deployrec::Recommendations best;
    stop_unless_ok(row != 0 ? recommender_.observe_and_recommend(&event, 1, k, &best)
                            : recommender_.recommend(&request, 1, k, &best));
    print(best);
  }
  void encode() {
    const int64_t user = number();
    const bool resume = number() != 0;
    const std::vector<int64_t> rows = numbers();
    const deployrec::History history{user, {rows.data(), rows.size()}, resume};
    stop_unless_ok(recommender_.encode(&history, 1));
  }
  void exported() {
    const int64_t user = number();
    std::string record;
    stop_unless_ok(recommender_.export_user(user, &record));
    stop_unless_ok(recommender_.forget(user));
    stop_unless_ok(recommender_.import_user(user, record));
    out_ << record.size() << '\n';
  }
  void print(const deployrec::Recommendations& best) {
    for (size_t i = 0; i < best.item_rows.size(); ++i) {
      out_ << best.item_rows[i] << ' ' << best.scores[i] << ((i + 1) % static_cast<size_t>(best.k) == 0 ? '\n' : ' ');
    }
  }

  Recommender& recommender_;
  std::ifstream in_;
  std::ofstream out_;
};

}  // namespace

int main(int argc, char** argv) {
  deployrec::Options options;
  options.bundle = argv[1];
  options.lanes = std::atoi(argv[2]);
  options.max_exclude = std::atoi(argv[3]);
  options.max_users = 1000;
  std::unique_ptr<Recommender> recommender;
  stop_unless_ok(Recommender::load(options, &recommender));
  std::vector<std::thread> threads;
  for (int i = 4; i < argc; ++i) {
    threads.emplace_back([&, path = std::string(argv[i])] { Script(*recommender, path).run(); });
  }
  std::atomic<bool> is_done{false};
  std::thread watcher([&] {  // what an embedder asks meanwhile
    while (threads.size() > 1 && !is_done) {
      if (recommender->user_list().size() > 1000) std::exit(1);
      if (recommender->counters().new_users < 0 || recommender->users() < 0) std::exit(1);
      stop_unless_ok(recommender->save(std::string(argv[4]) + ".states"));
      stop_unless_ok(recommender->warm_up({1, 2}, 5));
      stop_unless_ok(recommender->swap_bundle(options));
    }
  });
  for (std::thread& thread : threads) thread.join();
  is_done = true;
  watcher.join();
  const deployrec::Counters counters = recommender->counters();
  std::printf("%lld events, %lld read again\n", static_cast<long long>(counters.events),
              static_cast<long long>(counters.read_again));
  return 0;
}
