// CPU build of the linear recurrence: the CUDA kernels' threads, one after another, on host memory.
#include "kernels/linear_recurrence_thread.h"

namespace deployrec {
namespace {

template <int kWidth, class Element>
void run_threads(const LinearRecurrenceArgs<Element>& args) {
  const int64_t threads = args.batch * args.plan.chunks * (args.dim / kWidth);
  if (args.plan.chunks > 1) {
    for (int64_t thread = 0; thread < threads; ++thread) reduce_chunk<kWidth>(args, thread);
  }
  for (int64_t thread = 0; thread < threads; ++thread) walk_chunk<kWidth>(args, thread);
}

}  // namespace

const char* linear_recurrence(const LinearRecurrence& problem, void* workspace, void* /* stream */) noexcept {
  with_element(problem.type, [&](auto element) {
    using Element = decltype(element);
    const LinearRecurrenceArgs<Element> args = make_args<Element>(problem, workspace);
    if (takes_full_width<Element>(problem)) {
      run_threads<kFullWidth<Element>>(args);
    } else {
      run_threads<1>(args);
    }
  });
  return nullptr;
}

}  // namespace deployrec
