#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdio>
#include <functional>
#include <vector>

#include "measure.h"
#include "memory.h"
#include "problems.h"

namespace deployrec::test {
namespace {

constexpr int kWarmUps = 5;
constexpr int kRuns = 40;

// Median milliseconds of one call.
double time_calls(const std::function<void()>& call) {
  cudaEvent_t start, stop;
  require(cudaEventCreate(&start));
  require(cudaEventCreate(&stop));
  std::vector<float> times;
  for (int i = 0; i < kWarmUps + kRuns; ++i) {
    require(cudaEventRecord(start));
    call();
    require(cudaEventRecord(stop));
    require(cudaEventSynchronize(stop));
    float milliseconds = 0.0F;
    require(cudaEventElapsedTime(&milliseconds, start, stop));
    if (i >= kWarmUps) times.push_back(milliseconds);
  }
  require(cudaEventDestroy(start));
  require(cudaEventDestroy(stop));
  std::nth_element(times.begin(), times.begin() + kRuns / 2, times.end());
  return static_cast<double>(times[kRuns / 2]);
}

// One million random values, repeated: zeros would run faster than real data.
void fill(Buffer& buffer, ElementType type, int64_t count, float low, float high) {
  std::mt19937 random(11);
  std::uniform_real_distribution<float> uniform(low, high);
  const int64_t block = std::min<int64_t>(count, 1 << 20);
  const Values values(type, block, [&] { return uniform(random); });
  const size_t element = values.bytes.size() / static_cast<size_t>(block);
  for (int64_t at = 0; at < count; at += block) {
    auto* to = static_cast<unsigned char*>(buffer.get()) + static_cast<size_t>(at) * element;
    const size_t bytes = static_cast<size_t>(std::min(block, count - at)) * element;
    require(cudaMemcpy(to, values.bytes.data(), bytes, cudaMemcpyHostToDevice));
  }
}

size_t element_bytes(ElementType type) { return type == ElementType::kFloat32 ? 4 : 2; }

const char* type_name(ElementType type) {
  return type == ElementType::kFloat32 ? "fp32" : type == ElementType::kFloat16 ? "fp16" : "bf16";
}

double gigabytes_per_second(double bytes, double milliseconds) { return bytes / milliseconds / 1e6; }

double measure_copy() {
  const size_t bytes = size_t{2} << 30;
  Buffer from(bytes), to(bytes);
  fill(from, ElementType::kFloat32, static_cast<int64_t>(bytes / 4), 0.0F, 1.0F);
  const double ms =
      time_calls([&] { require(cudaMemcpyAsync(to.get(), from.get(), bytes, cudaMemcpyDeviceToDevice)); });
  return gigabytes_per_second(2.0 * static_cast<double>(bytes), ms);
}

void measure_linear(Runner& runner, Shape s, ElementType type, double copy, const char* separator) {
  const int64_t count = s.batch * s.time * s.dim;
  const size_t bytes = static_cast<size_t>(count) * element_bytes(type);
  const size_t state_bytes = static_cast<size_t>(s.batch * s.dim) * 4;
  Buffer a(bytes), b(bytes), hidden(bytes), initial(state_bytes), final_state(state_bytes);
  Buffer workspace(linear_recurrence_workspace_bytes(s.batch, s.time, s.dim));
  fill(a, type, count, 0.5F, 1.0F);
  fill(b, type, count, -1.0F, 1.0F);
  fill(initial, ElementType::kFloat32, s.batch * s.dim, -1.0F, 1.0F);
  const LinearRecurrence problem{type,
                                 s.batch,
                                 s.time,
                                 s.dim,
                                 a.get(),
                                 b.get(),
                                 static_cast<const float*>(initial.get()),
                                 hidden.get(),
                                 static_cast<float*>(final_state.get())};
  const double ms = time_calls([&] { runner.run(problem, workspace.get()); });
  const double rate =
      gigabytes_per_second(3.0 * static_cast<double>(bytes) + 2.0 * static_cast<double>(state_bytes), ms);
  std::printf("{\"shape\": [%ld, %ld, %ld], \"type\": \"%s\", \"ms\": %.5f, \"gb_per_s\": %.1f, \"of_copy\": %.4f}%s",
              static_cast<long>(s.batch), static_cast<long>(s.time), static_cast<long>(s.dim), type_name(type), ms,
              rate, rate / copy, separator);
}

void measure_gru(Runner& runner, Shape s, ElementType type, const char* separator) {
  const int64_t count = s.batch * s.time * s.dim;
  const size_t size = element_bytes(type);
  const size_t state_bytes = static_cast<size_t>(s.batch * s.dim) * 4;
  Buffer gates(static_cast<size_t>(count) * 3 * size), weight(static_cast<size_t>(3 * s.dim * s.dim) * size);
  Buffer hidden(static_cast<size_t>(count) * size), initial(state_bytes), final_state(state_bytes);
  Buffer lengths(static_cast<size_t>(s.batch) * sizeof(int64_t));
  fill(gates, type, 3 * count, -1.0F, 1.0F);
  fill(weight, type, 3 * s.dim * s.dim, -0.1F, 0.1F);
  fill(initial, ElementType::kFloat32, s.batch * s.dim, -1.0F, 1.0F);
  const std::vector<int64_t> full(static_cast<size_t>(s.batch), s.time);
  lengths.upload(full.data(), full.size() * sizeof(int64_t));
  const GruRecurrence problem{type,
                              s.batch,
                              s.time,
                              s.dim,
                              gates.get(),
                              weight.get(),
                              static_cast<const float*>(initial.get()),
                              static_cast<const int64_t*>(lengths.get()),
                              hidden.get(),
                              static_cast<float*>(final_state.get())};
  const double ms = time_calls([&] { runner.run(problem); });
  std::printf("{\"shape\": [%ld, %ld, %ld], \"type\": \"%s\", \"ms\": %.5f}%s", static_cast<long>(s.batch),
              static_cast<long>(s.time), static_cast<long>(s.dim), type_name(type), ms, separator);
}

}  // namespace

void print_measurements(Runner& runner) {
  cudaDeviceProp device{};
  require(cudaGetDeviceProperties(&device, 0));
  const double copy = measure_copy();
  std::printf("{\"device\": \"%s\", \"copy_gb_per_s\": %.1f, \"linear_recurrence\": [", device.name, copy);
  measure_linear(runner, {2048, 200, 128}, ElementType::kFloat32, copy, ", ");
  measure_linear(runner, {2048, 200, 128}, ElementType::kFloat16, copy, ", ");
  measure_linear(runner, {2048, 200, 128}, ElementType::kBFloat16, copy, ", ");
  measure_linear(runner, {256, 200, 128}, ElementType::kFloat32, copy, ", ");
  measure_linear(runner, {32, 200, 128}, ElementType::kFloat32, copy, ", ");
  measure_linear(runner, {1, 200, 128}, ElementType::kFloat32, copy, ", ");
  measure_linear(runner, {1, 4096, 128}, ElementType::kFloat32, copy, "], \"gru_recurrence\": [");
  measure_gru(runner, {2048, 200, 64}, ElementType::kFloat32, ", ");
  measure_gru(runner, {2048, 200, 64}, ElementType::kBFloat16, ", ");
  measure_gru(runner, {2048, 200, 128}, ElementType::kFloat32, ", ");
  measure_gru(runner, {2048, 200, 128}, ElementType::kBFloat16, ", ");
  measure_gru(runner, {256, 200, 64}, ElementType::kFloat32, ", ");
  measure_gru(runner, {1, 200, 64}, ElementType::kFloat32, ", ");
  measure_gru(runner, {1, 200, 128}, ElementType::kFloat32, "]}\n");
}

}  // namespace deployrec::test
