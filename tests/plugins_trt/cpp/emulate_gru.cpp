// The CUDA kernels of the gated recurrent unit themselves, emulated thread by thread, against float64: their indices,
// barriers, shuffles and tensor-core fragments, with the weight in registers, in shared memory and in global memory.
#include "cuda_emulation.h"

// clang-format off: the emulation comes first
#include "kernels/gru_recurrence.cu"
// clang-format on

#include "check.h"
#include "problems.h"

namespace deployrec {
namespace {

DEPLOYREC_EMULATED_SHARED(1 << 18);

}  // namespace

namespace test {
namespace {

constexpr int kMuchShared = 232448;  // compute capability 9.0
constexpr int kLittleShared = 60000;

struct Case {
  Shape shape;
  int multiprocessors;  // few make a block take several passes of rows
  int most_shared;
};

double largest_difference(const std::vector<double>& got, const std::vector<double>& expected) {
  double largest = 0.0;
  for (size_t i = 0; i < expected.size(); ++i) {
    const double off = std::abs(got[i] - expected[i]);
    if (!(off <= largest)) largest = off;  // so that a NaN stays
  }
  return largest;
}

void run(const Case& c, ElementType type, double tolerance, std::mt19937& random) {
  emulation::multiprocessors = c.multiprocessors;
  emulation::most_shared = c.most_shared;
  const Shape s = c.shape;
  const GruProblem p(s, type, random);
  const size_t element = type == ElementType::kFloat32 ? 4 : 2;
  std::vector<unsigned char> hidden(static_cast<size_t>(s.batch * s.time * s.dim) * element, 0xff);
  std::vector<float> state(static_cast<size_t>(s.batch * s.dim), NAN);
  const char* error = gru_recurrence(
      {type, s.batch, s.time, s.dim, p.gates.bytes.data(), p.weight.bytes.data(),
       reinterpret_cast<const float*>(p.initial_state.bytes.data()), p.lengths.data(), hidden.data(), state.data()},
      nullptr);
  const Expected expected = p.solve();
  CHECK(error == nullptr);
  CHECK(largest_difference(widen(type, hidden), expected.hidden) <= tolerance);
  CHECK(largest_difference({state.begin(), state.end()}, expected.final_state) <= 2e-6);
}

}  // namespace
}  // namespace test
}  // namespace deployrec

int main() {
  using namespace deployrec;
  using namespace deployrec::test;
  emulation::shared_memory = shared;
  emulation::shared_size = sizeof(shared);
  const Case cases[] = {
      {{1, 1, 1}, 1, kMuchShared},    {{2, 0, 8}, 1, kMuchShared},     {{9, 3, 16}, 1, kMuchShared},
      {{5, 4, 31}, 9, kMuchShared},   {{11, 3, 40}, 1, kMuchShared},   {{5, 4, 64}, 9, kMuchShared},
      {{9, 6, 64}, 1, kMuchShared},   {{5, 3, 70}, 1, kMuchShared},    {{3, 3, 96}, 9, kMuchShared},
      {{17, 5, 128}, 1, kMuchShared}, {{5, 4, 101}, 1, kMuchShared},   {{3, 3, 128}, 9, kMuchShared},
      {{5, 2, 72}, 9, kLittleShared}, {{5, 2, 140}, 1, kLittleShared}, {{3, 2, 200}, 9, kLittleShared}};
  std::mt19937 random(3);
  for (const Case& c : cases) run(c, ElementType::kFloat32, 2e-6, random);
  run({{6, 3, 40}, 1, kMuchShared}, ElementType::kFloat16, 5e-3, random);
  run({{6, 3, 70}, 1, kMuchShared}, ElementType::kBFloat16, 2e-2, random);
  for (const int64_t dim : {40, 64, 128}) {  // on tensor cores
    run({{9, 4, dim}, 1, kMuchShared}, ElementType::kFloat16, 5e-3, random);
    run({{9, 4, dim}, 1, kMuchShared}, ElementType::kBFloat16, 2e-2, random);
  }
  return finish("emulated gru kernel");
}
