// Drives the recurrences against a float64 reference: drive_kernels [--measure] or drive_enqueue LIBRARY [--measure].
// Prints one line per failure; with --measure (CUDA only) it then times large shapes and prints one JSON object.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <string>

#include "check.h"
#include "measure.h"
#include "memory.h"
#include "problems.h"
#include "recurrence_runner.h"

namespace deployrec::test {
namespace {

constexpr ElementType kTypes[] = {ElementType::kFloat32, ElementType::kFloat16, ElementType::kBFloat16};
const char* const kTypeNames[] = {"fp32", "fp16", "bf16"};
// max|difference| / max|reference| of hidden; states are fp32 whatever the element type.
constexpr double kHiddenTolerance[] = {1e-5, 5e-3, 2e-2};
constexpr double kStateTolerance = 1e-5;

double relative_error(const std::vector<double>& got, const std::vector<double>& expected) {
  double difference = 0.0;
  double size = 1e-30;
  for (size_t i = 0; i < expected.size(); ++i) {
    const double off = std::abs(got[i] - expected[i]);
    if (!(off <= difference)) difference = off;  // so that a NaN stays
    size = std::max(size, std::abs(expected[i]));
  }
  return difference / size;
}

// Output memory, poisoned with NaN so that an element that is never written shows.
struct Outputs {
  std::vector<unsigned char> hidden_bytes;
  std::vector<float> state;
  Buffer hidden, final_state;

  Outputs(ElementType type, Shape s)
      : hidden_bytes(static_cast<size_t>(s.batch * s.time * s.dim) * (type == ElementType::kFloat32 ? 4 : 2), 0xff),
        state(static_cast<size_t>(s.batch * s.dim), NAN),
        hidden(hidden_bytes.size()),
        final_state(state.size() * 4) {
    hidden.upload(hidden_bytes.data(), hidden_bytes.size());
    final_state.upload(state.data(), state.size() * 4);
  }
};

void compare(const char* what, ElementType type, Shape s, const char* error, Outputs& out, const Expected& expected) {
  const auto t = static_cast<int>(type);
  double hidden = NAN;
  double state = NAN;
  if (error == nullptr) {
    synchronize();
    out.hidden.download(out.hidden_bytes.data(), out.hidden_bytes.size());
    out.final_state.download(out.state.data(), out.state.size() * 4);
    hidden = relative_error(widen(type, out.hidden_bytes), expected.hidden);
    state = relative_error({out.state.begin(), out.state.end()}, expected.final_state);
  }
  if (error == nullptr && hidden <= kHiddenTolerance[t] && state <= kStateTolerance) return;
  ++failures();
  std::printf("%s %s B%ld-T%ld-D%ld: hidden off by %.3g, state by %.3g %s\n", what, kTypeNames[t],
              static_cast<long>(s.batch), static_cast<long>(s.time), static_cast<long>(s.dim), hidden, state,
              error == nullptr ? "" : error);
}

Buffer& uploaded(Buffer& buffer, const Values& values) {
  buffer.upload(values.bytes.data(), values.bytes.size());
  return buffer;
}

void check_linear(Runner& runner, Shape s, ElementType type, std::mt19937& random) {
  const LinearProblem problem(s, type, random);
  Buffer a(problem.a.bytes.size()), b(problem.b.bytes.size()), initial(problem.initial_state.bytes.size());
  Buffer workspace(linear_recurrence_workspace_bytes(s.batch, s.time, s.dim));
  CHECK(linear_recurrence_workspace_bytes(s.batch, s.time, s.dim) <= linear_recurrence_workspace_bound(s.time));
  Outputs out(type, s);
  const char* error =
      runner.run({type, s.batch, s.time, s.dim, uploaded(a, problem.a).get(), uploaded(b, problem.b).get(),
                  static_cast<const float*>(uploaded(initial, problem.initial_state).get()), out.hidden.get(),
                  static_cast<float*>(out.final_state.get())},
                 workspace.get());
  compare("linear_recurrence", type, s, error, out, problem.solve());
}

void check_gru(Runner& runner, Shape s, ElementType type, std::mt19937& random) {
  const GruProblem problem(s, type, random);
  Buffer gates(problem.gates.bytes.size()), weight(problem.weight.bytes.size());
  Buffer initial(problem.initial_state.bytes.size()), lengths(problem.lengths.size() * sizeof(int64_t));
  lengths.upload(problem.lengths.data(), problem.lengths.size() * sizeof(int64_t));
  Outputs out(type, s);
  const char* error = runner.run(GruRecurrence{
      type, s.batch, s.time, s.dim, uploaded(gates, problem.gates).get(), uploaded(weight, problem.weight).get(),
      static_cast<const float*>(uploaded(initial, problem.initial_state).get()),
      static_cast<const int64_t*>(lengths.get()), out.hidden.get(), static_cast<float*>(out.final_state.get())});
  compare("gru_recurrence", type, s, error, out, problem.solve());
}

}  // namespace

int drive(Runner& runner, bool measure) {
  std::mt19937 random(7);
  // Odd widths, both sides of the chunked path's limits, one step, none, more channels than chunks are made for.
  const Shape linear[] = {{1, 1, 1},   {2, 0, 8},     {3, 5, 40},    {2, 63, 70},   {2, 64, 70},  {1, 65, 33},
                          {4, 129, 8}, {1, 200, 128}, {1, 1000, 96}, {3, 333, 500}, {1, 2100, 4}, {256, 70, 128}};
  // Every way of keeping the weight: dim <= 32, <= 64, on chip, beyond it; ragged blocks of rows; wide unit blocks.
  const Shape gru[] = {{1, 1, 1},   {2, 0, 8},   {3, 7, 7},   {9, 13, 16}, {5, 21, 31},  {4, 30, 32}, {13, 17, 40},
                       {1, 90, 64}, {37, 9, 64}, {6, 11, 70}, {5, 12, 96}, {7, 10, 128}, {3, 5, 200}, {2, 3, 320}};
  for (const ElementType type : kTypes) {
    for (const Shape& shape : linear) check_linear(runner, shape, type, random);
    for (const Shape& shape : gru) check_gru(runner, shape, type, random);
#if !DEPLOYREC_CPU  // enough rows that each block takes several passes, and more than one wave of blocks
    for (const Shape& shape : {Shape{2501, 6, 32}, {2501, 6, 64}, {1203, 5, 96}, {1203, 5, 128}, {1203, 5, 320}}) {
      check_gru(runner, shape, type, random);
    }
    check_linear(runner, {2048, 33, 128}, type, random);
#endif
  }
  if (failures() == 0 && measure) print_measurements(runner);
  return finish("recurrences against float64");
}

}  // namespace deployrec::test

int main(int argc, char** argv) {
  std::string library;
  bool measure = false;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--measure") == 0) {
      measure = true;
    } else {
      library = argv[i];
    }
  }
  return deployrec::test::drive(*deployrec::test::make_runner(library), measure);
}
