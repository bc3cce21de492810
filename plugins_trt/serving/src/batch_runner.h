// Gather, run, scatter: one engine, its buffers and the arena, a batch at a time.
#pragma once

#include <memory>
#include <vector>

#include "arena.h"
#include "deployrec/serving.h"
#include "device.h"
#include "runner.h"

namespace deployrec {

// One row of a batch; `answer` is its row in the recommendations, or kNoAnswer.
struct BatchRow {
  static constexpr size_t kNoAnswer = static_cast<size_t>(-1);
  int64_t slot;
  const int64_t* items;
  int64_t item_count;
  const int64_t* exclude;
  size_t exclude_count;
  size_t answer;
};

class BatchRunner {
 public:
  // `batches` are the batch sizes that runs are padded to.
  static Status create(std::unique_ptr<Runner> engine, std::shared_ptr<Arena> arena, std::vector<int64_t> batches,
                       int64_t exclude_width, std::unique_ptr<BatchRunner>* runner);

  const EngineShape& shape() const { return engine_->shape(); }
  Arena& arena() { return *arena_; }

  // Rows of different slots, any number: they are cut into batches. The answers are there when it returns.
  Status run(const std::vector<BatchRow>& rows, Recommendations* recommendations);

 private:
  BatchRunner(std::unique_ptr<Runner> engine, std::shared_ptr<Arena> arena, std::vector<int64_t> batches,
              int64_t exclude_width);
  Status allocate();
  Status run_batch(const BatchRow* rows, int64_t count, Recommendations* recommendations);
  void stage(const BatchRow* rows, int64_t count, int64_t batch, int64_t time);
  Status launch(int64_t batch, int64_t time);

  bool is_encode() const { return shape().max_time > 0; }

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
