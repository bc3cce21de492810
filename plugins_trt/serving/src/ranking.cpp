#include "ranking.h"

#include <algorithm>
#include <array>
#include <numeric>
#include <utility>

namespace deployrec {
namespace {

// In as many sums as a processor adds at once.
float product(const float* a, const float* b, int64_t dim) {
  std::array<float, 16> sums{};
  int64_t i = 0;
  for (; i + 16 <= dim; i += 16) {
    for (int64_t lane = 0; lane < 16; ++lane) sums[static_cast<size_t>(lane)] += a[i + lane] * b[i + lane];
  }
  for (; i < dim; ++i) sums[0] += a[i] * b[i];
  return std::accumulate(sums.begin(), sums.end(), 0.0F);
}

}  // namespace

void best_of(const ItemVectors& items, const std::vector<float>& user, const ItemRows& only,
             std::vector<int64_t> excluded, int64_t k, int64_t* rows, float* scores) {
  std::vector<int64_t> left(only.data, only.data + only.count);
  if (!std::is_sorted(left.begin(), left.end())) std::sort(left.begin(), left.end());
  left.erase(std::unique(left.begin(), left.end()), left.end());
  std::sort(excluded.begin(), excluded.end());
  std::vector<std::pair<float, int64_t>> scored;
  scored.reserve(left.size());
  auto gone = excluded.begin();
  for (const int64_t row : left) {
    gone = std::lower_bound(gone, excluded.end(), row);
    if (gone != excluded.end() && *gone == row) continue;
    if (!items.is_retired.empty() && items.is_retired[static_cast<size_t>(row)] != 0) continue;
    scored.emplace_back(product(items.values + row * items.dim, user.data(), items.dim), row);
  }
  const auto best = scored.begin() + std::min(k, static_cast<int64_t>(scored.size()));
  std::partial_sort(scored.begin(), best, scored.end(), [](const auto& a, const auto& b) {
    return a.first > b.first || (a.first == b.first && a.second < b.second);
  });
  for (auto found = scored.begin(); found != best; ++found) {
    *rows++ = found->second;
    *scores++ = found->first;
  }
}

}  // namespace deployrec
