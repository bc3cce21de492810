// Serves a bundle's TensorRT plans from C++: every user's state stays in one device arena, events go in, the best items
// come out.
//
// An item is named by its row of the bundle's item table, from 1 on, as in items.csv after the header; 0 is padding.
// The items' own ids (item_id in items.csv) are the caller's to look up.
//
// No function throws. A Recommender may be shared between threads: calls take turns. Results come in the order of the
// arguments.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "deployrec/status.h"

namespace deployrec {

// How the arena stores states. fp16 halves the memory; the arithmetic stays fp32, and so do counts of events.
enum class StateStorage : int32_t { kFloat32, kFloat16 };

struct Options {
  std::string plans;  // folder of a bundle's plans: BUNDLE/engine
  // Each plan holds the model's weights in device memory. A call whose plan was left out answers kMissingPlan.
  bool step = true;
  bool advance = true;
  bool encode = true;
  bool score = true;
  std::string plugin_library;    // path of libdeployrec_plugin.so; empty: none is needed, or it is loaded already
  int64_t max_users = 100000;    // slots of the arena
  int64_t max_exclude = 512;     // items that a list leaves out; of more the newest count
  std::vector<int64_t> batches;  // a CUDA graph for each and each k; empty: powers of two up to the plan's largest batch
  StateStorage storage = StateStorage::kFloat32;
  int device = 0;
};

// Item rows, oldest first; read during the call.
struct ItemRows {
  const int64_t* data = nullptr;
  size_t count = 0;
};

// One thing that happened. `exclude`: what a list after it leaves out.
struct Event {
  int64_t user = 0;
  int64_t item_row = 0;
  ItemRows exclude = {};
};

// A user's events. Without `resume` the user starts from nothing, whatever the slot held.
struct History {
  int64_t user = 0;
  ItemRows items;
  bool resume = false;
};

struct Request {
  int64_t user = 0;
  ItemRows exclude = {};
};

// Row i answers the i-th event or request. Where fewer than `k` items are left, item row 0 ends the row.
struct Recommendations {
  int64_t k = 0;
  std::vector<int64_t> item_rows;  // [rows, k]
  std::vector<float> scores;       // [rows, k], the best first
};

class Recommender {
 public:
  // Refuses plans of different bundles.
  [[nodiscard]] static Status load(const Options& options, std::unique_ptr<Recommender>* recommender) noexcept;
  ~Recommender();

  // Applies the events in order, by the advance plan: nothing is scored. A new user starts from nothing. Several events
  // of one user are run in waves, so the batch is as good as calls one by one. A user of a model whose state is exact up
  // to a window (SASRec) is read again beyond it, the newest events from the start, by the encode plan.
  [[nodiscard]] Status observe(const Event* events, size_t count) noexcept;

  // The same with the k best items after each event, by the step plan; beyond a window by the encode and score plans.
  [[nodiscard]] Status observe_and_recommend(const Event* events, size_t count, int64_t k,
                                             Recommendations* recommendations) noexcept;

  // The k best items for each user as the state stands, by the score plan; none for a user without events.
  [[nodiscard]] Status recommend(const Request* requests, size_t count, int64_t k,
                                 Recommendations* recommendations) noexcept;

  // Reads histories into the users' slots by the encode plan, those longer than the plan takes in stretches.
  [[nodiscard]] Status encode(const History* histories, size_t count) noexcept;

  // Frees the user's slot; a user without one is no error.
  [[nodiscard]] Status forget(int64_t user) noexcept;

  // Writes all states to `path`, by a temporary file; reads them back in place of what the arena holds. A file of
  // another state_id is refused with kStaleState, a damaged one with kFile, and the arena keeps what it has.
  [[nodiscard]] Status save(const std::string& path) noexcept;
  [[nodiscard]] Status restore(const std::string& path) noexcept;

  int64_t users() const noexcept;
  int64_t events_of(int64_t user) const noexcept;  // applied so far; 0 for a user without a state
  int64_t num_items() const noexcept;              // item rows run from 1 to this
  int64_t max_k() const noexcept;                  // items of the longest list; 0 without a plan that makes lists
  const std::string& bundle_id() const noexcept;
  const std::string& state_id() const noexcept;  // of manifest.json: what stored states hang on

 private:
  struct Parts;
  explicit Recommender(std::unique_ptr<Parts> parts) noexcept;
  std::unique_ptr<Parts> parts_;
};

}  // namespace deployrec
