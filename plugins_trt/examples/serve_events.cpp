// Reads "user item_row" lines from standard input and prints what to recommend after each:
//   serve_events BUNDLE < events.txt                                      by ONNX Runtime
//   serve_events BUNDLE/engine [libdeployrec_plugin.so] < events.txt      by TensorRT
// The lines before the first empty one are history: they are encoded at once, without an answer.
#include <deployrec/serving.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

namespace {

using deployrec::Status;

constexpr int64_t kBest = 5;

void stop_unless_ok(const Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", status.message().c_str());
  std::exit(2);
}

struct Line {
  int64_t user = 0;
  int64_t item_row = 0;
};

// False at the end of the input and at an empty line.
bool read(Line* line) {
  std::string text;
  if (!std::getline(std::cin, text) || text.empty()) return false;
  std::istringstream fields(text);
  if (fields >> line->user >> line->item_row) return true;
  std::fprintf(stderr, "expected a line \"user item_row\"; got \"%s\"; give two whole numbers\n", text.c_str());
  std::exit(2);
}

void print(const Line& line, const deployrec::Recommendations& best) {
  std::printf("user %lld after item row %lld:", static_cast<long long>(line.user),
              static_cast<long long>(line.item_row));
  for (int64_t i = 0; i < best.k && best.item_rows[static_cast<size_t>(i)] != 0; ++i) {
    const auto at = static_cast<size_t>(i);
    std::printf(" %lld (%.3f)", static_cast<long long>(best.item_rows[at]), static_cast<double>(best.scores[at]));
  }
  std::printf("\n");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2 && argc != 3) {
    std::fprintf(stderr, "usage: serve_events BUNDLE_OR_PLANS [PLUGIN_LIBRARY] < events\n");
    return 2;
  }
  deployrec::Options options;
  const bool is_plans = std::ifstream(std::string(argv[1]) + "/step.plan").good();
  (is_plans ? options.plans : options.bundle) = argv[1];
  if (argc == 3) options.plugin_library = argv[2];
  std::unique_ptr<deployrec::Recommender> recommender;
  stop_unless_ok(deployrec::Recommender::load(options, &recommender));
  const int64_t k = std::min(kBest, recommender->max_k());

  Line line;
  std::map<int64_t, std::vector<int64_t>> read_before;
  while (read(&line)) read_before[line.user].push_back(line.item_row);
  std::vector<deployrec::History> histories;
  for (const auto& [user, items] : read_before) histories.push_back({user, {items.data(), items.size()}, false});
  stop_unless_ok(recommender->encode(histories.data(), histories.size()));

  deployrec::Recommendations best;
  while (read(&line)) {
    const deployrec::Event event{line.user, line.item_row};
    stop_unless_ok(recommender->observe_and_recommend(&event, 1, k, &best));
    print(line, best);
  }
  return 0;
}
