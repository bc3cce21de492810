// A lane of the Recommender, on whatever device and engines: checks ids, claims slots, runs waves and stretches, and
// reads users beyond a window again. Several sessions share an arena; no two of them have the same user in flight.
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
  // The engines of one bundle, one of each graph at most; one must move states. Without an arena it makes one.
  static Status create(std::shared_ptr<Device> device, std::vector<std::unique_ptr<Runner>> engines,
                       const Options& options, std::unique_ptr<Session>* session,
                       std::shared_ptr<Arena> arena = nullptr, int64_t lane = 0);

  Status observe(const Event* events, size_t count);
  Status observe_and_recommend(const Event* events, size_t count, int64_t k, Recommendations* recommendations);
  Status recommend(const Request* requests, size_t count, int64_t k, Recommendations* recommendations);
  Status encode(const History* histories, size_t count);
  Status warm_up(const std::vector<int64_t>& batches, int64_t k);
  Status export_user(int64_t user, std::string* record);
  Status import_user(int64_t user, const std::string& record);

  Arena& arena() const { return *arena_; }
  const std::shared_ptr<Arena>& shared_arena() const { return arena_; }
  const std::shared_ptr<Device>& device() const { return device_; }
  // Items of the longest list that every loaded graph makes; 0 where none makes any.
  int64_t max_k() const;

 private:
  class Call;
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
  Status need_items(int64_t k) const;

  // The k best of `only` as the slot's user stands, into row `answer`.
  Status rank(Call& call, int64_t slot, const ItemRows& only, const ItemRows& exclude, size_t answer,
              Recommendations* recommendations);
  BatchRow list_row(int64_t slot, const int64_t* item, const ItemRows& exclude, size_t answer) const;
  Status run(Call& call, Graph graph, const std::vector<BatchRow>& rows, int64_t k, Recommendations* recommendations);
  // Each slot comes once.
  Status read(Call& call, const std::vector<Reading>& readings);
  Status read_stretches(Call& call, const std::vector<Reading>& readings);

  std::shared_ptr<Device> device_;
  std::shared_ptr<Arena> arena_;
  std::shared_ptr<const ItemVectors> items_;  // null where the host has none
  bool exclude_seen_ = true;
  std::array<std::unique_ptr<BatchRunner>, kGraphs> runners_;
};

// One call at work: it holds the arena's lock but while graphs run, and keeps its slots pinned to the end.
class Session::Call {
 public:
  explicit Call(Arena& arena);
  ~Call();
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  Status claim(Device& device, const std::vector<int64_t>& users);
  const std::vector<int64_t>& slots() const { return slots_; }
  void pin(int64_t slot);
  // The slots that were claimed have been written.
  void written();
  template <class Work>
  Status unlocked(Work work) {
    lock_.unlock();
    Status status = work();
    lock_.lock();
    return status;
  }

 private:
  Arena& arena_;
  std::unique_lock<std::mutex> lock_;
  std::vector<int64_t> slots_;
};

}  // namespace deployrec
