// Lists of some items only: what a filter leaves of a catalogue is scored by itself, while the graphs score it all.
#pragma once

#include <cstdint>
#include <vector>

#include "deployrec/serving.h"

namespace deployrec {

// The item table in the host's memory.
struct ItemVectors {
  const float* values = nullptr;  // [num_items + 1, dim]
  int64_t dim = 0;
  std::vector<char> is_retired;  // by row; empty where none is
};

// The k best of the rows in `only` for a user vector, the best first and the lower row among equals, but for retired
// ones and `excluded`; `rows` and `scores` [k] stay as they are where no more are left.
void best_of(const ItemVectors& items, const std::vector<float>& user, const ItemRows& only,
             std::vector<int64_t> excluded, int64_t k, int64_t* rows, float* scores);

}  // namespace deployrec
