// What one thread of the linear recurrence does: the CUDA kernels and the CPU build both run these functions.
#pragma once

#include <math.h>

#include "kernels/element.h"
#include "kernels/linear_recurrence.h"

namespace deployrec {

template <class Element>
struct LinearRecurrenceArgs {
  const Element* a;
  const Element* b;
  const float* initial_state;
  Element* hidden;
  float* final_state;
  float* chunk_decay;  // [batch, chunks, dim] the product of a over each chunk
  float* chunk_state;  // [batch, chunks, dim] each chunk's last state from a zero start
  int64_t batch, time, dim;
  ChunkPlan plan;
};

// The kWidth neighbouring channels of one chunk of one row that a thread owns.
struct ThreadPlace {
  int64_t row, chunk, channel, begin, end;
};

template <int kWidth, class Element>
DEPLOYREC_HD bool find_place(const LinearRecurrenceArgs<Element>& args, int64_t thread, ThreadPlace& place) {
  const int64_t groups = args.dim / kWidth;
  place.channel = thread % groups * kWidth;
  place.chunk = thread / groups % args.plan.chunks;
  place.row = thread / groups / args.plan.chunks;
  place.begin = place.chunk * args.plan.length;
  place.end = place.begin + args.plan.length < args.time ? place.begin + args.plan.length : args.time;
  return place.row < args.batch;
}

// Steps whose inputs are loaded together; while one tile is computed the next one is on its way.
constexpr int kTile = 4;

template <class Element, int kWidth>
struct Tile {
  Pack<Element, kWidth> a[kTile] = {};
  Pack<Element, kWidth> b[kTile] = {};

  // Starts loading the `steps` next steps, at most kTile, the first of which lies at `at`.
  DEPLOYREC_HD void load(const LinearRecurrenceArgs<Element>& args, int64_t at, int64_t steps) {
    DEPLOYREC_UNROLL
    for (int i = 0; i < kTile; ++i, at += args.dim) {
      if (i >= steps) continue;
      a[i] = load_streaming<Element, kWidth>(args.a + at);
      b[i] = load_streaming<Element, kWidth>(args.b + at);
    }
  }

  template <class Visit>
  DEPLOYREC_HD void visit(int64_t dim, int64_t at, int64_t steps, Visit& visitor) const {
    DEPLOYREC_UNROLL
    for (int i = 0; i < kTile; ++i, at += dim) {
      if (i < steps) visitor(at, a[i], b[i]);
    }
  }
};

// Calls visitor(at, a_t, b_t) for every step of the place, in order; `at` is the step's index in the sequences. Two
// tiles take turns, so that a load is waited for only one tile later: copying one into the other would wait at once.
template <int kWidth, class Element, class Visit>
DEPLOYREC_HD void for_each_step(const LinearRecurrenceArgs<Element>& args, const ThreadPlace& place, Visit visitor) {
  Tile<Element, kWidth> even;
  Tile<Element, kWidth> odd;
  const int64_t tile = kTile * args.dim;
  int64_t at = (place.row * args.time + place.begin) * args.dim + place.channel;
  even.load(args, at, place.end - place.begin);
  for (int64_t left = place.end - place.begin; left > 0; left -= 2 * kTile, at += 2 * tile) {
    odd.load(args, at + tile, left - kTile);
    even.visit(args.dim, at, left, visitor);
    even.load(args, at + 2 * tile, left - 2 * kTile);
    odd.visit(args.dim, at + tile, left - kTile, visitor);
  }
}

// First pass of a chunked run: the chunk as one step, (product of a, last state from zero).
template <int kWidth, class Element>
DEPLOYREC_HD void reduce_chunk(const LinearRecurrenceArgs<Element>& args, int64_t thread) {
  ThreadPlace place;
  if (!find_place<kWidth>(args, thread, place)) return;
  if (place.chunk + 1 == args.plan.chunks) return;  // nothing follows the last chunk
  float decay[kWidth];
  float state[kWidth];
  DEPLOYREC_UNROLL
  for (int i = 0; i < kWidth; ++i) {
    decay[i] = 1.0F;
    state[i] = 0.0F;
  }
  for_each_step<kWidth>(args, place, [&](int64_t, const auto& a, const auto& b) {
    DEPLOYREC_UNROLL
    for (int i = 0; i < kWidth; ++i) {
      decay[i] *= to_float(a.lane[i]);
      state[i] = fmaf(to_float(a.lane[i]), state[i], to_float(b.lane[i]));
    }
  });
  const int64_t pair = (place.row * args.plan.chunks + place.chunk) * args.dim + place.channel;
  DEPLOYREC_UNROLL
  for (int i = 0; i < kWidth; ++i) {
    args.chunk_decay[pair + i] = decay[i];
    args.chunk_state[pair + i] = state[i];
  }
}

// The only pass of an unchunked run, the second of a chunked one: writes hidden, and the final state after the last
// step.
template <int kWidth, class Element>
DEPLOYREC_HD void walk_chunk(const LinearRecurrenceArgs<Element>& args, int64_t thread) {
  ThreadPlace place;
  if (!find_place<kWidth>(args, thread, place)) return;
  float state[kWidth];
  DEPLOYREC_UNROLL
  for (int i = 0; i < kWidth; ++i) state[i] = args.initial_state[place.row * args.dim + place.channel + i];
  DEPLOYREC_NO_UNROLL  // unrolled, it takes the registers that the tiles need
      for (int64_t chunk = 0; chunk < place.chunk; ++chunk) {
    const int64_t pair = (place.row * args.plan.chunks + chunk) * args.dim + place.channel;
    DEPLOYREC_UNROLL
    for (int i = 0; i < kWidth; ++i) state[i] = fmaf(args.chunk_decay[pair + i], state[i], args.chunk_state[pair + i]);
  }
  for_each_step<kWidth>(args, place, [&](int64_t at, const auto& a, const auto& b) {
    Pack<Element, kWidth> out;
    DEPLOYREC_UNROLL
    for (int i = 0; i < kWidth; ++i) {
      state[i] = fmaf(to_float(a.lane[i]), state[i], to_float(b.lane[i]));
      out.lane[i] = from_float<Element>(state[i]);
    }
    store_streaming<Element, kWidth>(args.hidden + at, out);
  });
  if (place.chunk + 1 < args.plan.chunks) return;
  DEPLOYREC_UNROLL
  for (int i = 0; i < kWidth; ++i) args.final_state[place.row * args.dim + place.channel + i] = state[i];
}

template <class Element>
LinearRecurrenceArgs<Element> make_args(const LinearRecurrence& problem, void* workspace) {
  const ChunkPlan plan = plan_chunks(problem.batch, problem.time, problem.dim);
  float* decay = static_cast<float*>(workspace);
  float* state = plan.chunks > 1 ? decay + problem.batch * plan.chunks * problem.dim : nullptr;
  return {static_cast<const Element*>(problem.a),
          static_cast<const Element*>(problem.b),
          problem.initial_state,
          static_cast<Element*>(problem.hidden),
          problem.final_state,
          decay,
          state,
          problem.batch,
          problem.time,
          problem.dim,
          plan};
}

// Whether rows can be read in 16-byte packs.
template <class Element>
bool takes_full_width(const LinearRecurrence& problem) {
  return problem.dim % kFullWidth<Element> == 0 && is_aligned(problem.a, 16) && is_aligned(problem.b, 16) &&
         is_aligned(problem.hidden, 16);
}

}  // namespace deployrec
