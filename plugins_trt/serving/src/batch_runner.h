// Gather, run, scatter: one engine, its buffers and the arena, a batch at a time.
#pragma once

#include <memory>
#include <vector>

#include "arena.h"
#include "deployrec/serving.h"
#include "device.h"
#include "runner.h"

namespace deployrec {

// One row of a batch. Of graphs that make lists: what these leave out, and the row of the answer.
struct BatchRow {
  int64_t slot;
  const int64_t* items;
  int64_t item_count;
  ItemRows exclude;
  const int32_t* seen;
  size_t seen_count;
  size_t answer;
  bool leaves_out_items;  // the row's own too

  size_t excluded() const {
    return seen_count + exclude.count + (leaves_out_items ? static_cast<size_t>(item_count) : 0);
  }
};

// What `run` has cost.
struct RunCounts {
  int64_t runs = 0;
  int64_t rows = 0;  // padding included
  double seconds = 0;
};

class BatchRunner {
 public:
  // `batches` are the batch sizes that runs are padded to.
  static Status create(std::unique_ptr<Runner> engine, std::shared_ptr<Device> device, std::shared_ptr<Arena> arena,
                       int64_t lane, std::vector<int64_t> batches, int64_t most_excluded,
                       std::unique_ptr<BatchRunner>* runner);

  const EngineShape& shape() const { return engine_->shape(); }

  // Rows of different slots, any number: they are cut into batches. When it returns, the states have moved, and of
  // graphs that make lists the k best items of each row are in `recommendations`; k is 0 and that null of the others.
  Status run(const std::vector<BatchRow>& rows, int64_t k, Recommendations* recommendations, RunCounts* counts);
  // One run on so many rows of padding.
  Status warm_up(int64_t batch, int64_t k, Recommendations* recommendations);

 private:
  BatchRunner(std::unique_ptr<Runner> engine, std::shared_ptr<Device> device, std::shared_ptr<Arena> arena,
              int64_t lane, std::vector<int64_t> batches, int64_t most_excluded);
  Status allocate();
  RunSize size_of(const BatchRow* rows, int64_t count, int64_t k) const;
  Status run_batch(const BatchRow* rows, int64_t count, int64_t k, Recommendations* recommendations,
                   RunCounts* counts);
  void stage(const BatchRow* rows, int64_t count, const RunSize& size);
  Status launch(const RunSize& size);

  Graph graph() const { return shape().name.graph; }

  std::shared_ptr<Device> device_;  // before the buffers, which it frees
  std::shared_ptr<Arena> arena_;
  int64_t scratch_slot_;
  std::vector<int64_t> batches_;
  int64_t most_excluded_;
  EngineMemory memory_{};
  StateMove gather_;
  StateMove scatter_;
  DeviceMemory device_inputs_, device_outputs_, device_states_;
  DeviceMemory host_inputs_, host_outputs_;
  std::unique_ptr<Runner> engine_;  // destroyed first: its contexts use the buffers
};

}  // namespace deployrec
