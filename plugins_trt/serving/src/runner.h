// The seam to the engine: what it takes, and a run on bound memory. TensorRT has one, the tests have another.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "deployrec/status.h"

namespace deployrec {

// One state tensor of a user, by its name without past. or present. in front.
struct StateTensor {
  std::string name;
  int64_t count;  // values
};

struct EngineShape {
  std::string bundle_id;
  std::string state_id;   // of bundles that take each other's states
  int64_t num_items = 0;  // item rows run from 1 to it
  int64_t window = 0;     // events up to which a state is exact; 0: any number
  std::vector<StateTensor> states;  // in the order of the engine's inputs
  int64_t max_batch = 0;
  int64_t max_time = 0;  // of an encode engine; 0: a step engine
  int64_t max_exclude = 0;
  int64_t k = 0;
  int64_t user_dim = 0;
};

// Device memory for the largest batch; every tensor is packed for the batch that runs.
struct EngineMemory {
  int64_t* items;    // [B] of a step, [B, T] of an encode engine
  int64_t* lengths;  // [B], encode only
  int64_t* exclude;  // [B, exclude_width]
  int64_t exclude_width;
  std::vector<float*> past;     // [B, ...] in the order of EngineShape::states
  std::vector<float*> present;  // likewise
  int64_t* topk_items;          // [B, k]
  float* topk_scores;           // [B, k]
  float* user;                  // [B, user_dim]
};

class Runner {
 public:
  virtual ~Runner() = default;
  virtual const EngineShape& shape() const = 0;
  // Puts one run on the device's stream.
  virtual Status run(const EngineMemory& memory, int64_t batch, int64_t time) = 0;
};

}  // namespace deployrec
