// What a plan says of itself, in the name of its network: deployrec/runtime/backends/tensorrt/plan_name.py writes it.
#pragma once

#include <cstdint>
#include <string>

namespace deployrec {

enum class Graph : int { kStep, kAdvance, kEncode, kScore };
constexpr int kGraphs = 4;

constexpr const char* text_of(Graph graph) {
  constexpr const char* kTexts[kGraphs] = {"step", "advance", "encode", "score"};
  return kTexts[static_cast<int>(graph)];
}
constexpr bool moves_states(Graph graph) { return graph != Graph::kScore; }
constexpr bool makes_lists(Graph graph) { return graph == Graph::kStep || graph == Graph::kScore; }

struct PlanName {
  Graph graph = Graph::kStep;
  std::string bundle_id;
  std::string state_id;
  int64_t num_items = 0;
  int64_t window = 0;  // newest events that a user is read again from where the state is not exact; 0: it always is
  int64_t max_k = 0;   // items of the longest list; 0 where the graph makes none
};

// False for any text but one that names all of it.
bool parse_plan_name(const std::string& text, PlanName* name);

}  // namespace deployrec
