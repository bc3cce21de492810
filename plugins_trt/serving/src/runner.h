// The seam to the engine: what it takes, and a run on bound memory. TensorRT and ONNX Runtime have one each, and so
// have the tests.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "deployrec/status.h"
#include "plan_name.h"
#include "ranking.h"

namespace deployrec {

// One state tensor of a user, by its name without past. or present. in front.
struct StateTensor {
  std::string name;
  int64_t count;  // values
};

struct EngineShape {
  PlanName name;
  std::vector<StateTensor> states;  // in the manifest's order, or, of plans alone, by name; none of a score engine
  bool takes_any_size = false;  // up to the largest; else few sizes, to which runs are padded
  int64_t max_batch = 0;
  int64_t max_time = 0;     // of an encode engine
  int64_t max_exclude = 0;  // of an engine that makes lists
  int64_t user_dim = 0;
};

// Device memory for the largest batch; every tensor is packed for the batch that runs. What a graph has no use for is
// null.
struct EngineMemory {
  int64_t* items;    // [B] of a step or advance engine, [B, T] of an encode engine
  int64_t* lengths;  // [B], encode only
  int64_t* exclude;  // [B, E]
  std::vector<float*> past;     // [B, ...] in the order of EngineShape::states
  std::vector<float*> present;  // likewise
  int64_t* topk_items;          // [B, k]
  float* topk_scores;           // [B, k]
  float* user;                  // [B, user_dim], which a score engine reads and the others write

  bool operator==(const EngineMemory& other) const {
    return items == other.items && lengths == other.lengths && exclude == other.exclude && past == other.past &&
           present == other.present && topk_items == other.topk_items && topk_scores == other.topk_scores &&
           user == other.user;
  }
};

struct RunSize {
  int64_t batch = 1;
  int64_t time = 1;
  int64_t k = 0;        // 0 of a graph that makes no lists
  int64_t exclude = 0;  // E, likewise
};

class Runner {
 public:
  virtual ~Runner() = default;
  virtual const EngineShape& shape() const = 0;
  // Null where the host does not hold them.
  virtual std::shared_ptr<const ItemVectors> item_vectors() const { return nullptr; }
  // Puts one run on the device's stream.
  virtual Status run(const EngineMemory& memory, const RunSize& size) = 0;
};

}  // namespace deployrec
