// What a Recommender does, apart from CUDA and TensorRT: checks ids, claims slots, runs waves and stretches, and reads
// users beyond a window again.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "batch_runner.h"
#include "deployrec/serving.h"

namespace deployrec {

class Session {
 public:
  // The engines of one bundle, one of each graph at most; one must move states.
  static Status create(std::shared_ptr<Device> device, std::vector<std::unique_ptr<Runner>> engines,
                       const Options& options, std::unique_ptr<Session>* session);

  Status observe(const Event* events, size_t count);
  Status observe_and_recommend(const Event* events, size_t count, int64_t k, Recommendations* recommendations);
  Status recommend(const Request* requests, size_t count, int64_t k, Recommendations* recommendations);
  Status encode(const History* histories, size_t count);

  Arena& arena() { return *arena_; }
  // Items of the longest list that every loaded plan makes; 0 where none makes any.
  int64_t max_k() const;

 private:
  // What one slot reads: on top of its state or, `anew`, as a user without events.
  struct Reading {
    int64_t slot;
    const int64_t* items;
    int64_t count;
    bool anew;
  };

  BatchRunner* runner(Graph graph) const { return runners_[static_cast<size_t>(graph)].get(); }
  const PlanName& bundle() const { return arena_->bundle(); }
  int64_t events_in(int64_t slot) const { return arena_->slots().owner(slot).events; }
  int64_t events_of(int64_t user) const;
  // Whether a state is exact after so many events in all; if not, the newest `window` are read from the start.
  bool carries(int64_t events) const;

  Status need(Graph graph, const std::string& what_for) const;
  Status need_to_read_again() const;
  Status need_lists(Graph graph, int64_t k, const std::string& what_for) const;

  // Each slot comes once.
  Status read(const std::vector<Reading>& readings);
  Status read_stretches(const std::vector<Reading>& readings);

  std::shared_ptr<Arena> arena_;
  std::array<std::unique_ptr<BatchRunner>, kGraphs> runners_;
};

}  // namespace deployrec
