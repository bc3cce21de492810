// Gather, run, scatter: one engine, its buffers and the arena, a batch at a time.
#pragma once

#include <memory>
#include <vector>

#include "arena.h"
#include "deployrec/serving.h"
#include "device.h"
#include "runner.h"

namespace deployrec {

// One row of a batch; `answer` is its row in the recommendations, of graphs that make them.
struct BatchRow {
  int64_t slot;
  const int64_t* items;
  int64_t item_count;
  ItemRows exclude;
  size_t answer;
};

class BatchRunner {
 public:
  // `batches` are the batch sizes that runs are padded to.
  static Status create(std::unique_ptr<Runner> engine, std::shared_ptr<Arena> arena, std::vector<int64_t> batches,
                       int64_t exclude_width, std::unique_ptr<BatchRunner>* runner);

  const EngineShape& shape() const { return engine_->shape(); }

  // Rows of different slots, any number: they are cut into batches. When it returns, the states have moved, and of
  // graphs that make lists the k best items of each row are in `recommendations`; k is 0 and that null of the others.
  Status run(const std::vector<BatchRow>& rows, int64_t k, Recommendations* recommendations);

 private:
  BatchRunner(std::unique_ptr<Runner> engine, std::shared_ptr<Arena> arena, std::vector<int64_t> batches,
              int64_t exclude_width);
  Status allocate();
  Status run_batch(const BatchRow* rows, int64_t count, int64_t k, Recommendations* recommendations);
  void stage(const BatchRow* rows, int64_t count, const RunSize& size);
  Status launch(const RunSize& size);

  Graph graph() const { return shape().name.graph; }

  std::shared_ptr<Arena> arena_;  // before the buffers: they are freed by its device
  std::vector<int64_t> batches_;
  int64_t exclude_width_;
  EngineMemory memory_{};
  StateMove gather_;
  StateMove scatter_;
  DeviceMemory device_inputs_, device_outputs_, device_states_;
  DeviceMemory host_inputs_, host_outputs_;
  std::unique_ptr<Runner> engine_;  // destroyed first: its contexts use the buffers
};

}  // namespace deployrec
