#include "plan_name.h"

#include <cerrno>
#include <cstdlib>
#include <map>
#include <sstream>

namespace deployrec {
namespace {

constexpr const char* kStart = "deployrec plan 1 ";
// Far above any catalogue; keeps products of sizes within 64 bits.
constexpr int64_t kMost = INT32_MAX;

bool read_graph(const std::string& text, Graph* graph) {
  for (int i = 0; i < kGraphs; ++i) {
    *graph = static_cast<Graph>(i);
    if (text == text_of(*graph)) return true;
  }
  return false;
}

bool read_number(const std::string& text, int64_t least, int64_t* number) {
  if (text.empty() || text.find_first_not_of("0123456789") != std::string::npos) return false;
  errno = 0;
  *number = std::strtoll(text.c_str(), nullptr, 10);
  return errno == 0 && *number >= least && *number <= kMost;
}

}  // namespace

bool parse_plan_name(const std::string& text, PlanName* name) {
  if (text.rfind(kStart, 0) != 0) return false;
  std::map<std::string, std::string> fields;
  std::istringstream words(text.substr(std::string(kStart).size()));
  for (std::string word; words >> word;) {
    const size_t equals = word.find('=');
    if (equals == std::string::npos || !fields.emplace(word.substr(0, equals), word.substr(equals + 1)).second) {
      return false;
    }
  }
  PlanName read;
  read.bundle_id = fields["bundle_id"];
  read.state_id = fields["state_id"];
  const bool is_whole = read_graph(fields["graph"], &read.graph) && !read.bundle_id.empty() &&
                        !read.state_id.empty() && read_number(fields["num_items"], 1, &read.num_items) &&
                        read_number(fields["window"], 0, &read.window) &&
                        read_number(fields["max_k"], makes_lists(read.graph) ? 1 : 0, &read.max_k);
  if (is_whole) *name = read;
  return is_whole;
}

}  // namespace deployrec
