// Serves a bundle from C++: every user's state stays in one arena, events go in, the best items come out. Runs ONNX
// graphs on any machine, and TensorRT plans on a GPU.
//
// An item is named by its row of the bundle's item table, from 1 on, as in items.csv after the header; 0 is padding.
// deployrec/catalogue.h translates the items' own ids.
//
// No function throws. A Recommender may be shared between threads: with one lane calls take turns, with more those of
// different users run side by side. Results come in the order of the arguments.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "deployrec/options.h"
#include "deployrec/status.h"

namespace deployrec {

// Item rows, oldest first; read during the call.
struct ItemRows {
  const int64_t* data = nullptr;
  size_t count = 0;
};

// One thing that happened. `exclude`: what a list after it leaves out beside what was seen; `only`, where it is
// given: all that may come, such as Catalogue::fitting finds, whose exact scores are then all that is computed. Both are
// for observe_and_recommend.
struct Event {
  int64_t user = 0;
  int64_t item_row = 0;
  ItemRows exclude = {};
  std::optional<ItemRows> only = std::nullopt;
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
  std::optional<ItemRows> only = std::nullopt;
};

// Row i answers the i-th event or request. Where fewer than `k` items are left, item row 0 ends the row.
struct Recommendations {
  int64_t k = 0;
  std::vector<int64_t> item_rows;  // [rows, k]
  std::vector<float> scores;       // [rows, k], the best first
};

// Since the Recommender was loaded.
struct Counters {
  int64_t calls = 0;
  int64_t failed_calls = 0;
  int64_t events = 0;      // read into states
  int64_t lists = 0;
  int64_t runs = 0;        // of graphs
  int64_t rows = 0;        // of these runs, padding included
  int64_t padded_rows = 0;
  int64_t read_again = 0;  // users beyond the window whose newest events were read from the start
  int64_t new_users = 0;
  int64_t evicted = 0;
  int64_t expired = 0;
  double run_seconds = 0;  // in runs of graphs, their copies included
};

class DEPLOYREC_CXX_API Recommender {
 public:
  // Refuses an edited bundle, and plans of different bundles.
  static Status load(const Options& options, std::unique_ptr<Recommender>* recommender) noexcept;
  ~Recommender();

  // Applies the events in order: nothing is scored. A new user starts from nothing. Several events of one user are run
  // in waves, so the batch is as good as calls one by one. A user of a model whose state is exact up to a window
  // (SASRec) is read again beyond it, the newest events from the start, by the encode graph.
  Status observe(const Event* events, size_t count) noexcept;

  // The same with the k best items after each event.
  Status observe_and_recommend(const Event* events, size_t count, int64_t k,
                               Recommendations* recommendations) noexcept;

  // The k best items for each user as the state stands; none for a user without events.
  Status recommend(const Request* requests, size_t count, int64_t k, Recommendations* recommendations) noexcept;

  // Reads histories into the users' slots by the encode graph, those longer than it takes in stretches.
  Status encode(const History* histories, size_t count) noexcept;

  // Frees the user's slot; a user without one is no error.
  Status forget(int64_t user) noexcept;

  // Runs every graph at each of these batch sizes and at the largest, with lists of k, so that the first requests need
  // not wait for what engines set up at a size's first run. Moves no user.
  Status warm_up(const std::vector<int64_t>& batches, int64_t k) noexcept;

  // One user's record in the bytes that Python's stores keep (deployrec/runtime/records.py), and back in place of what
  // the user had. kInvalidArgument for a user without a state.
  Status export_user(int64_t user, std::string* record) noexcept;
  Status import_user(int64_t user, const std::string& record) noexcept;

  // Writes all users' records to `path`, by a temporary file; reads them back in place of all users. Python's store
  // records:PATH reads and writes the same file. One of another state_id is refused with kStaleState, a damaged one
  // with kFile, and the arena keeps what it has.
  Status save(const std::string& path) noexcept;
  Status restore(const std::string& path) noexcept;

  // Goes on with another bundle of the same state_id (other graphs, titles or popularity) and every user's state. It is
  // loaded while calls go on; they then wait for the moment of the change. Options of the arena stay as they are.
  Status swap_bundle(const Options& options) noexcept;

  // Frees the slots of users who were idle for longer than Options::time_to_live.
  Status expire() noexcept;

  int64_t users() const noexcept;
  std::vector<int64_t> user_list() const;          // the least recently used first
  int64_t events_of(int64_t user) const noexcept;  // applied so far; 0 for a user without a state
  Counters counters() const noexcept;
  int64_t num_items() const noexcept;  // item rows run from 1 to this
  int64_t max_k() const noexcept;      // items of the longest list; 0 without a graph that makes lists
  std::string bundle_id() const;
  std::string state_id() const;  // of manifest.json: what stored states hang on

 private:
  struct Parts;
  explicit Recommender(std::unique_ptr<Parts> parts) noexcept;
  std::unique_ptr<Parts> parts_;
};

}  // namespace deployrec
