// How a linear recurrence over few channels is cut along time, and the workspace that takes.
#pragma once

#include <cstddef>
#include <cstdint>

namespace deployrec {

// Time is cut into chunks where the channels alone are too few to keep the memory busy: each chunk is first reduced to
// one (decay, state) pair, then walked with the fold of the pairs before it as its initial state.
struct ChunkPlan {
  int64_t chunks;
  int64_t length;
};

// Below kEnoughChannels the loads in flight (8 bytes x 4 to 8 steps a channel) no longer cover the memory's latency.
constexpr int64_t kEnoughChannels = 32768;
// Chunks are added up to this many (channel, chunk) pairs: it also bounds the workspace.
constexpr int64_t kMostPairs = 131072;
// A chunk re-reads its share of a and b, and folds the pairs before it: short or many chunks cost more than they win.
constexpr int64_t kShortestChunk = 32;
constexpr int64_t kMostChunks = 64;

inline ChunkPlan plan_chunks(int64_t batch, int64_t time, int64_t dim) {
  const int64_t channels = batch * dim;
  if (channels <= 0 || channels >= kEnoughChannels || time < 2 * kShortestChunk) return {1, time};
  int64_t chunks = kMostPairs / channels;
  if (chunks > kMostChunks) chunks = kMostChunks;
  if (chunks > time / kShortestChunk) chunks = time / kShortestChunk;
  const int64_t length = (time + chunks - 1) / chunks;
  return {(time + length - 1) / length, length};
}

// Workspace that the shape needs; it is 0 where the channels alone fill the device.
inline size_t linear_recurrence_workspace_bytes(int64_t batch, int64_t time, int64_t dim) {
  const ChunkPlan plan = plan_chunks(batch, time, dim);
  return plan.chunks > 1 ? static_cast<size_t>(batch * plan.chunks * dim) * 2 * sizeof(float) : 0;
}

// The most that any batch and dim need at up to `time` steps.
inline size_t linear_recurrence_workspace_bound(int64_t time) {
  return time < 2 * kShortestChunk ? 0 : static_cast<size_t>(kMostPairs) * 2 * sizeof(float);
}

}  // namespace deployrec
