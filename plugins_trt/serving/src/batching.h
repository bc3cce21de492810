// How a call's rows become batches: waves in which no user comes twice, cut into the sizes the engine was prepared for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace deployrec {

// Wave w holds the indices of every user's w-th entry, in order: two events of one user in one batch would both read
// the state before the first, and one of them would be lost.
std::vector<std::vector<size_t>> plan_waves(const std::vector<int64_t>& users);

// Sorted batch sizes up to `largest`: those asked for, or powers of two; `largest` is always the last.
std::vector<int64_t> batch_sizes(const std::vector<int64_t>& wanted, int64_t largest);

// The smallest size that holds `rows`; the largest where none does.
int64_t smallest_batch(const std::vector<int64_t>& sizes, int64_t rows);

}  // namespace deployrec
