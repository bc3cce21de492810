// Serves a bundle's TensorRT plans from C++: every user's state stays in one device arena, events go in, top-k comes
// out.
//
// An item is named by its row of the bundle's item table, from 1 on, as in items.csv after the header; 0 is padding.
// The items' own ids (item_id in items.csv) are the caller's to look up.
//
// No function throws. An engine may be shared between threads: calls on it, and on the engines that share its states,
// take turns. Results come in the order of the arguments.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "deployrec/status.h"

namespace deployrec {

// How the arena stores a state. fp16 halves the memory; the arithmetic stays fp32.
enum class StateStorage : int32_t { kFloat32, kFloat16 };

struct StepOptions {
  std::string plan;              // path of the bundle's step plan
  int64_t max_users = 100000;    // slots of the arena
  int64_t max_exclude = 512;     // width of exclude_items; of longer lists the newest count
  std::vector<int64_t> batches;  // a CUDA graph for each; empty: powers of two up to the plan's largest batch
  StateStorage storage = StateStorage::kFloat32;
  int device = 0;
};

struct EncodeOptions {
  std::string plan;            // path of the same bundle's encode plan
  std::string plugin_library;  // path of libdeployrec_plugin.so; empty: the plan carries it, or it is loaded already
  int64_t max_exclude = 512;
};

// One thing that happened. `exclude_rows` lists items that must not be recommended, oldest first; it is read during
// the call.
struct Event {
  int64_t user = 0;
  int64_t item_row = 0;
  const int64_t* exclude_rows = nullptr;
  size_t exclude_count = 0;
};

// A user's events, oldest first. Without `resume` the user starts from nothing, whatever the slot held, and a model
// with a window reads the newest of them.
struct History {
  int64_t user = 0;
  const int64_t* item_rows = nullptr;
  size_t item_count = 0;
  const int64_t* exclude_rows = nullptr;
  size_t exclude_count = 0;
  bool resume = false;
};

// Row i answers the i-th event or history. Where fewer than `k` items are left, item row 0 ends the row.
struct Recommendations {
  int64_t k = 0;
  std::vector<int64_t> item_rows;  // [rows, k]
  std::vector<float> scores;       // [rows, k]
};

class EncodeEngine;

class StepEngine {
 public:
  [[nodiscard]] static Status load(const StepOptions& options, std::unique_ptr<StepEngine>* engine) noexcept;
  ~StepEngine();

  // Applies the events in order and recommends after each. A new user starts from nothing. Several events of one user
  // are run in waves, so the batch is as good as calls one by one. Beyond the model's window (see `window`) the call is
  // refused, and nothing has changed: encode that user's newest events again.
  [[nodiscard]] Status step(const Event* events, size_t count, Recommendations* recommendations) noexcept;

  // Frees the user's slot; a user without one is no error.
  [[nodiscard]] Status forget(int64_t user) noexcept;

  // Writes all states to `path`, by a temporary file; reads them back in place of what the arena holds. A file of
  // another bundle is refused with kStaleState, a damaged one with kFile, and the arena keeps what it has.
  [[nodiscard]] Status save(const std::string& path) noexcept;
  [[nodiscard]] Status restore(const std::string& path) noexcept;

  int64_t users() const noexcept;
  int64_t events_of(int64_t user) const noexcept;  // applied so far; 0 for a user without a state
  const std::string& bundle_id() const noexcept;

  // Item rows run from 1 to num_items().
  int64_t num_items() const noexcept;

  // How many events a user's state holds exactly (SASRec's window); 0 for any number, as recurrent models do.
  int64_t window() const noexcept;

 private:
  friend class EncodeEngine;
  struct Parts;
  explicit StepEngine(std::unique_ptr<Parts> parts) noexcept;
  std::unique_ptr<Parts> parts_;
};

class EncodeEngine {
 public:
  // Shares the states of `step`, whose bundle the plan must be of; either engine may be destroyed first.
  [[nodiscard]] static Status load(const EncodeOptions& options, const StepEngine& step,
                                   std::unique_ptr<EncodeEngine>* engine) noexcept;
  ~EncodeEngine();

  // Encodes histories into the users' slots and recommends after each. Histories longer than the plan takes are encoded
  // in stretches. An empty history recommends nothing.
  [[nodiscard]] Status encode(const History* histories, size_t count, Recommendations* recommendations) noexcept;

 private:
  struct Parts;
  explicit EncodeEngine(std::unique_ptr<Parts> parts) noexcept;
  std::unique_ptr<Parts> parts_;
};

}  // namespace deployrec
