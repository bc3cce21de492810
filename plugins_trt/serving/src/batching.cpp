#include "batching.h"

#include <algorithm>
#include <unordered_map>

namespace deployrec {

std::vector<std::vector<size_t>> plan_waves(const std::vector<int64_t>& users) {
  std::unordered_map<int64_t, size_t> seen;
  std::vector<std::vector<size_t>> waves;
  for (size_t i = 0; i < users.size(); ++i) {
    const size_t wave = seen[users[i]]++;
    if (wave == waves.size()) waves.emplace_back();
    waves[wave].push_back(i);
  }
  return waves;
}

std::vector<int64_t> batch_sizes(const std::vector<int64_t>& wanted, int64_t largest) {
  std::vector<int64_t> sizes = wanted;
  if (wanted.empty()) {
    for (int64_t size = 1; size < largest; size *= 2) sizes.push_back(size);
  }
  sizes.push_back(largest);
  sizes.erase(std::remove_if(sizes.begin(), sizes.end(), [&](int64_t s) { return s < 1 || s > largest; }), sizes.end());
  std::sort(sizes.begin(), sizes.end());
  sizes.erase(std::unique(sizes.begin(), sizes.end()), sizes.end());
  return sizes;
}

int64_t smallest_batch(const std::vector<int64_t>& sizes, int64_t rows) {
  const auto found = std::lower_bound(sizes.begin(), sizes.end(), rows);
  return found == sizes.end() ? sizes.back() : *found;
}

}  // namespace deployrec
