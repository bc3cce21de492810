// A Device on host memory, and a Runner that computes a small recurrent model there.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <set>
#include <vector>

#include "check.h"
#include "device.h"
#include "runner.h"

namespace deployrec::test {

class HostDevice final : public Device {
 public:
  std::set<int64_t> repeated;  // the keys of repeat

  Status select() override { return {}; }
  Status allocate(size_t bytes, void** memory) override {
    *memory = std::malloc(bytes);
    std::memset(*memory, 0xa5, bytes);  // what device memory holds: anything
    return {};
  }
  Status allocate_host(size_t bytes, void** memory) override { return allocate(bytes, memory); }
  void free(void* memory) override { std::free(memory); }
  void free_host(void* memory) override { std::free(memory); }
  Status upload(void* to, const void* from, size_t bytes) override { return copy(to, from, bytes); }
  Status download(void* to, const void* from, size_t bytes) override { return copy(to, from, bytes); }
  Status fill_zero(void* memory, size_t bytes) override {
    std::memset(memory, 0, bytes);
    return {};
  }
  Status gather(const StateMove& move) override { return for_each(move, gather_value); }
  Status scatter(const StateMove& move) override { return for_each(move, scatter_value); }
  Status wait() override { return {}; }
  Status repeat(int64_t key, const std::function<Status()>& work) override {
    repeated.insert(key);
    return work();
  }

 private:
  static Status copy(void* to, const void* from, size_t bytes) {
    std::memcpy(to, from, bytes);
    return {};
  }
  static Status for_each(const StateMove& move, void (*visit)(const StateMove&, int64_t, int, int64_t)) {
    for (int64_t row = 0; row < move.batch; ++row) {
      for (int s = 0; s < move.segments; ++s) {
        for (int64_t i = 0; i < move.segment[s].count; ++i) visit(move, row, s, i);
      }
    }
    return {};
  }
};

// State "0.hidden" [2]: h = h / 2 + (item, item^2 / 64); "1.trace" [1]: s = s / 4 + item. Recommends the k items from
// 1 + floor(h_0) on, modulo the catalogue, that are not excluded, scored by h_1 + s.
class ToyModel {
 public:
  static constexpr int64_t kItems = 50;
  static constexpr int64_t kBest = 3;

  static void step(int64_t item, float* hidden, float* trace) {
    hidden[0] = 0.5F * hidden[0] + static_cast<float>(item);
    hidden[1] = 0.5F * hidden[1] + static_cast<float>(item * item) / 64.0F;
    trace[0] = 0.25F * trace[0] + static_cast<float>(item);
  }
  static void recommend(const float* hidden, const float* trace, const int64_t* exclude, int64_t excluded,
                        int64_t* items, float* scores) {
    int64_t item = static_cast<int64_t>(hidden[0]) % kItems;
    for (int64_t found = 0; found < kBest;) {
      item = item % kItems + 1;
      if (std::find(exclude, exclude + excluded, item) != exclude + excluded) continue;
      items[found] = item;
      scores[found++] = hidden[1] + trace[0];
    }
  }
};

class ToyRunner final : public Runner {
 public:
  // max_time 0 makes it a step engine.
  ToyRunner(int64_t max_batch, int64_t max_time, const char* bundle_id = "toy", int64_t window = 0) {
    shape_ = {bundle_id, std::string("states of ") + bundle_id, ToyModel::kItems, window,
              {{"0.hidden", 2}, {"1.trace", 1}}, max_batch, max_time, 4, ToyModel::kBest, 2};
  }
  const EngineShape& shape() const override { return shape_; }

  Status run(const EngineMemory& memory, int64_t batch, int64_t time) override {
    CHECK(batch <= shape_.max_batch && time <= std::max<int64_t>(1, shape_.max_time));
    for (int64_t row = 0; row < batch; ++row) {
      float* hidden = memory.present[0] + 2 * row;
      float* trace = memory.present[1] + row;
      std::copy_n(memory.past[0] + 2 * row, 2, hidden);
      std::copy_n(memory.past[1] + row, 1, trace);
      const int64_t steps = shape_.max_time > 0 ? memory.lengths[row] : 1;
      for (int64_t t = 0; t < steps; ++t) {
        const int64_t item = memory.items[row * time + t];
        CHECK(item >= 0 && item <= ToyModel::kItems);
        ToyModel::step(item, hidden, trace);
      }
      ToyModel::recommend(hidden, trace, memory.exclude + row * memory.exclude_width, memory.exclude_width,
                          memory.topk_items + row * ToyModel::kBest, memory.topk_scores + row * ToyModel::kBest);
      std::copy_n(hidden, 2, memory.user + 2 * row);
    }
    return {};
  }

 private:
  EngineShape shape_;
};

}  // namespace deployrec::test
