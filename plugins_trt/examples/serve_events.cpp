// Reads "user item_row" lines from standard input and prints what to recommend after each:
//   serve_events step.plan [encode.plan libdeployrec_plugin.so] < events.txt
// With an encode plan, the lines before the first empty one are history: they are encoded at once, without an answer.
#include <deployrec/serving.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

namespace {

using deployrec::Status;

constexpr size_t kNewestSeen = 512;
constexpr int64_t kShown = 5;

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
  for (int64_t i = 0; i < std::min(best.k, kShown) && best.item_rows[static_cast<size_t>(i)] != 0; ++i) {
    const auto at = static_cast<size_t>(i);
    std::printf(" %lld (%.3f)", static_cast<long long>(best.item_rows[at]), static_cast<double>(best.scores[at]));
  }
  std::printf("\n");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2 && argc != 4) {
    std::fprintf(stderr, "usage: serve_events STEP_PLAN [ENCODE_PLAN PLUGIN_LIBRARY] < events\n");
    return 2;
  }
  deployrec::StepOptions options;
  options.plan = argv[1];
  std::unique_ptr<deployrec::StepEngine> step;
  stop_unless_ok(deployrec::StepEngine::load(options, &step));

  std::map<int64_t, std::vector<int64_t>> seen;
  deployrec::Recommendations best;
  Line line;
  if (argc == 4) {
    std::unique_ptr<deployrec::EncodeEngine> encode;
    stop_unless_ok(deployrec::EncodeEngine::load({argv[2], argv[3]}, *step, &encode));
    while (read(&line)) seen[line.user].push_back(line.item_row);
    std::vector<deployrec::History> histories;
    for (const auto& [user, items] : seen) histories.push_back({user, items.data(), items.size(), nullptr, 0, false});
    stop_unless_ok(encode->encode(histories.data(), histories.size(), &best));
  }
  while (read(&line)) {
    std::vector<int64_t>& items = seen[line.user];
    items.push_back(line.item_row);
    if (items.size() > kNewestSeen) items.erase(items.begin());
    const deployrec::Event event{line.user, line.item_row, items.data(), items.size()};
    stop_unless_ok(step->step(&event, 1, &best));
    print(line, best);
  }
  return 0;
}
