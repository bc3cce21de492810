// A Device and a Runner for tests: host memory, and a small recurrent model.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <set>
#include <string>
#include <vector>

#include "check.h"
#include "host_device.h"
#include "runner.h"

namespace deployrec::test {

// Its memory holds anything at first, as a GPU's does; notes the keys of `repeat` and which device the caller uses.
class ToyDevice final : public HostDevice {
 public:
  std::set<WorkKey> repeated;
  int selected = 7;  // by the caller

  Status select(int* before) override {
    *before = selected;
    selected = 0;
    return {};
  }
  void deselect(int before) override { selected = before; }
  Status allocate(size_t bytes, void** memory) override {
    Status status = HostDevice::allocate(bytes, memory);
    if (status.ok()) std::memset(*memory, 0xa5, bytes);
    return status;
  }
  Status fill_zero(void* memory, size_t bytes) override {
    ++fills;
    return HostDevice::fill_zero(memory, bytes);
  }
  Status repeat(const WorkKey& key, const std::function<Status()>& work) override {
    repeated.insert(key);
    return work();
  }

  int fills = 0;
};

// State "0.count" [1]: n = n + 1; "1.hidden" [2]: h = h / 2 + (item, item^2 / 64); "2.trace" [1, 2]: s = s / 4 + item,
// twice. With a window, as a model that is exact up to one: an event beyond it finds no place and is dropped.
// User vector [2]: (h_1 + s_0, h_0). Recommends the items from 1 + floor(user_1) on, modulo the catalogue, that are not
// excluded, the j-th scored by user_0 - j; item 0 and -inf where no more are left.
class ToyModel {
 public:
  static constexpr int64_t kItems = 50;
  static constexpr int64_t kMaxK = 12;

  static std::vector<StateTensor> states() { return {{"0.count", 1}, {"1.hidden", 2}, {"2.trace", 2}}; }

  struct State {
    float count = 0;
    float hidden[2] = {};
    float trace[2] = {};
  };

  static void step(int64_t item, int64_t window, State* state) {
    state->count += 1;
    if (window > 0 && state->count > static_cast<float>(window)) return;
    state->hidden[0] = 0.5F * state->hidden[0] + static_cast<float>(item);
    state->hidden[1] = 0.5F * state->hidden[1] + static_cast<float>(item * item) / 64.0F;
    for (float& trace : state->trace) trace = 0.25F * trace + static_cast<float>(item);
  }
  static void user(const State& state, float* user) {
    user[0] = state.hidden[1] + state.trace[0];
    user[1] = state.hidden[0];
  }
  static void recommend(const float* user, const int64_t* exclude, int64_t excluded, int64_t k, int64_t* items,
                        float* scores) {
    const int64_t first = static_cast<int64_t>(user[1]) % kItems;
    int64_t found = 0;
    for (int64_t j = 0; j < kItems && found < k; ++j) {
      const int64_t item = (first + j) % kItems + 1;
      if (std::find(exclude, exclude + excluded, item) != exclude + excluded) continue;
      items[found] = item;
      scores[found] = user[0] - static_cast<float>(found);
      ++found;
    }
    std::fill(items + found, items + k, 0);
    std::fill(scores + found, scores + k, -std::numeric_limits<float>::infinity());
  }
};

struct ToyBundle {
  std::string bundle_id = "toy bundle";
  std::string state_id = "toy states";
  int64_t window = 0;
  bool has_state = true;
};

class ToyRunner final : public Runner {
 public:
  int64_t* runs = nullptr;  // counts, where a test asks for it

  ToyRunner(Graph graph, int64_t max_batch, int64_t max_time, const ToyBundle& bundle) {
    const int64_t max_k = makes_lists(graph) ? ToyModel::kMaxK : 0;
    shape_.name = {graph, bundle.bundle_id, bundle.state_id, ToyModel::kItems, bundle.window, max_k};
    if (moves_states(graph) && bundle.has_state) shape_.states = ToyModel::states();
    shape_.max_batch = max_batch;
    shape_.max_time = graph == Graph::kEncode ? max_time : 0;
    shape_.max_exclude = makes_lists(graph) ? 4 : 0;
    shape_.user_dim = 2;
  }
  const EngineShape& shape() const override { return shape_; }

  Status run(const EngineMemory& memory, const RunSize& size) override {
    const Graph graph = shape_.name.graph;
    if (runs != nullptr) ++*runs;
    CHECK(size.batch <= shape_.max_batch && size.time <= std::max<int64_t>(1, shape_.max_time));
    CHECK(makes_lists(graph) ? size.k >= 1 && size.k <= ToyModel::kMaxK : size.k == 0);
    for (int64_t row = 0; row < size.batch; ++row) {
      if (moves_states(graph)) move(memory, size, row);
      if (!makes_lists(graph)) continue;
      ToyModel::recommend(memory.user + 2 * row, memory.exclude + row * size.exclude, size.exclude,
                          size.k, memory.topk_items + row * size.k, memory.topk_scores + row * size.k);
    }
    return {};
  }

 private:
  void move(const EngineMemory& memory, const RunSize& size, int64_t row) {
    ToyModel::State state;
    if (!shape_.states.empty()) {
      state.count = memory.past[0][row];
      std::copy_n(memory.past[1] + 2 * row, 2, state.hidden);
      std::copy_n(memory.past[2] + 2 * row, 2, state.trace);
    }
    const int64_t steps = shape_.name.graph == Graph::kEncode ? memory.lengths[row] : 1;
    for (int64_t t = 0; t < steps; ++t) {
      const int64_t item = memory.items[row * size.time + t];
      CHECK(item >= 0 && item <= ToyModel::kItems);
      ToyModel::step(item, shape_.name.window, &state);
    }
    ToyModel::user(state, memory.user + 2 * row);
    if (shape_.states.empty()) return;
    memory.present[0][row] = state.count;
    std::copy_n(state.hidden, 2, memory.present[1] + 2 * row);
    std::copy_n(state.trace, 2, memory.present[2] + 2 * row);
  }

  EngineShape shape_;
};

}  // namespace deployrec::test
