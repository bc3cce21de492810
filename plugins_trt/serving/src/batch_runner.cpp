#include "batch_runner.h"

#include <algorithm>
#include <cstring>

#include "batching.h"

namespace deployrec {
namespace {

// Each tensor begins on its own cache line, as TensorRT asks for.
constexpr size_t kAlignment = 256;

size_t padded(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

int64_t round_up_to_power_of_two(int64_t value) {
  int64_t power = 1;
  while (power < value) power *= 2;
  return power;
}

// Offsets of the pieces of one allocation.
class Pieces {
 public:
  size_t add(size_t bytes) {
    const size_t at = bytes_;
    bytes_ += padded(bytes);
    return at;
  }
  size_t bytes() const { return bytes_; }

 private:
  size_t bytes_ = 0;
};

// Where the inputs lie for a batch: the largest decides the size, each batch packs them anew.
struct InputPlaces {
  size_t slots, items, lengths, exclude, bytes;

  InputPlaces(int64_t batch, int64_t time, int64_t exclude_width) {
    Pieces pieces;
    const auto rows = static_cast<size_t>(batch) * sizeof(int64_t);
    slots = pieces.add(rows);
    lengths = pieces.add(rows);
    items = pieces.add(rows * static_cast<size_t>(time));
    exclude = pieces.add(rows * static_cast<size_t>(exclude_width));
    bytes = pieces.bytes();
  }
};

struct OutputPlaces {
  size_t items, scores, bytes, user, bytes_with_user;

  OutputPlaces(int64_t batch, int64_t k, int64_t user_dim) {
    Pieces pieces;
    const auto answers = static_cast<size_t>(batch) * static_cast<size_t>(k);
    items = pieces.add(answers * sizeof(int64_t));
    scores = pieces.add(answers * sizeof(float));
    bytes = pieces.bytes();
    user = pieces.add(static_cast<size_t>(batch) * static_cast<size_t>(user_dim) * sizeof(float));
    bytes_with_user = pieces.bytes();
  }
};

}  // namespace

Status BatchRunner::create(std::unique_ptr<Runner> engine, std::shared_ptr<Arena> arena, std::vector<int64_t> batches,
                           int64_t exclude_width, std::unique_ptr<BatchRunner>* runner) {
  Status status = arena->check(engine->shape());
  if (!status.ok()) return status;
  if (exclude_width < 1) {
    return {StatusCode::kInvalidArgument,
            "expected max_exclude of at least 1; got " + std::to_string(exclude_width) + "; the default is 512"};
  }
  exclude_width = std::min(exclude_width, engine->shape().max_exclude);
  std::unique_ptr<BatchRunner> made(
      new BatchRunner(std::move(engine), std::move(arena), std::move(batches), exclude_width));
  status = made->allocate();
  if (status.ok()) *runner = std::move(made);
  return status;
}

BatchRunner::BatchRunner(std::unique_ptr<Runner> engine, std::shared_ptr<Arena> arena, std::vector<int64_t> batches,
                         int64_t exclude_width)
    : arena_(std::move(arena)),
      batches_(std::move(batches)),
      exclude_width_(exclude_width),
      gather_(arena_->move_template()),
      scatter_(arena_->move_template()),
      engine_(std::move(engine)) {}

Status BatchRunner::allocate() {
  const int64_t batch = batches_.back();
  const InputPlaces in(batch, std::max<int64_t>(1, shape().max_time), exclude_width_);
  const OutputPlaces out(batch, shape().k, shape().user_dim);
  Pieces states;
  std::vector<size_t> past, present;
  for (const StateTensor& state : shape().states) {
    const size_t bytes = static_cast<size_t>(batch * state.count) * sizeof(float);
    past.push_back(states.add(bytes));
    present.push_back(states.add(bytes));
  }
  const std::shared_ptr<Device>& device = arena_->device();
  Status status = device_inputs_.allocate(device, in.bytes);
  if (status.ok()) status = device_outputs_.allocate(device, out.bytes_with_user);
  if (status.ok()) status = device_states_.allocate(device, states.bytes());
  if (status.ok()) status = host_inputs_.allocate(device, in.bytes, true);
  if (status.ok()) status = host_outputs_.allocate(device, out.bytes, true);
  if (!status.ok()) return status;

  memory_.exclude_width = exclude_width_;
  for (size_t i = 0; i < past.size(); ++i) {
    memory_.past.push_back(reinterpret_cast<float*>(device_states_.as<unsigned char>() + past[i]));
    memory_.present.push_back(reinterpret_cast<float*>(device_states_.as<unsigned char>() + present[i]));
    gather_.segment[i].tensor = memory_.past[i];
    scatter_.segment[i].tensor = memory_.present[i];
  }
  return {};
}

Status BatchRunner::run(const std::vector<BatchRow>& rows, Recommendations* recommendations) {
  const auto most = static_cast<size_t>(batches_.back());
  for (size_t first = 0; first < rows.size(); first += most) {
    const auto count = static_cast<int64_t>(std::min(most, rows.size() - first));
    Status status = run_batch(rows.data() + first, count, recommendations);
    if (!status.ok()) return status;
  }
  return {};
}

Status BatchRunner::run_batch(const BatchRow* rows, int64_t count, Recommendations* recommendations) {
  const int64_t batch = smallest_batch(batches_, count);
  int64_t time = 1;
  for (int64_t i = 0; i < count; ++i) time = std::max(time, rows[i].item_count);
  if (is_encode()) time = std::min(round_up_to_power_of_two(time), shape().max_time);  // few shapes, so few set-ups
  stage(rows, count, batch, time);
  const auto work = [&] { return launch(batch, time); };
  // A step's work depends on its batch alone.
  Status status = is_encode() ? work() : arena_->device()->repeat(batch, work);
  if (status.ok()) status = arena_->device()->wait();
  if (!status.ok()) return status;

  const OutputPlaces out(batch, shape().k, shape().user_dim);
  const auto* items = reinterpret_cast<const int64_t*>(host_outputs_.as<unsigned char>() + out.items);
  const auto* scores = reinterpret_cast<const float*>(host_outputs_.as<unsigned char>() + out.scores);
  for (int64_t i = 0; i < count; ++i) {
    if (rows[i].answer == BatchRow::kNoAnswer) continue;
    const auto to = static_cast<int64_t>(rows[i].answer) * shape().k;
    std::copy_n(items + i * shape().k, shape().k, recommendations->item_rows.begin() + to);
    std::copy_n(scores + i * shape().k, shape().k, recommendations->scores.begin() + to);
  }
  return {};
}

// Rows beyond `count` are padding: item 0, length 0, the scratch slot.
void BatchRunner::stage(const BatchRow* rows, int64_t count, int64_t batch, int64_t time) {
  const InputPlaces in(batch, time, exclude_width_);
  auto* host = host_inputs_.as<unsigned char>();
  std::memset(host, 0, in.bytes);
  auto* slots = reinterpret_cast<int64_t*>(host + in.slots);
  auto* lengths = reinterpret_cast<int64_t*>(host + in.lengths);
  auto* items = reinterpret_cast<int64_t*>(host + in.items);
  auto* exclude = reinterpret_cast<int64_t*>(host + in.exclude);
  std::fill_n(slots, batch, arena_->scratch_slot());
  for (int64_t i = 0; i < count; ++i) {
    const BatchRow& row = rows[i];
    slots[i] = row.slot;
    lengths[i] = row.item_count;
    std::copy_n(row.items, row.item_count, items + i * time);
    const auto kept = std::min(row.exclude_count, static_cast<size_t>(exclude_width_));
    std::copy_n(row.exclude + (row.exclude_count - kept), kept, exclude + i * exclude_width_);
  }
}

Status BatchRunner::launch(int64_t batch, int64_t time) {
  Device& device = *arena_->device();
  const InputPlaces in(batch, time, exclude_width_);
  const OutputPlaces out(batch, shape().k, shape().user_dim);
  auto* inputs = device_inputs_.as<unsigned char>();
  auto* outputs = device_outputs_.as<unsigned char>();
  memory_.items = reinterpret_cast<int64_t*>(inputs + in.items);
  memory_.lengths = reinterpret_cast<int64_t*>(inputs + in.lengths);
  memory_.exclude = reinterpret_cast<int64_t*>(inputs + in.exclude);
  memory_.topk_items = reinterpret_cast<int64_t*>(outputs + out.items);
  memory_.topk_scores = reinterpret_cast<float*>(outputs + out.scores);
  memory_.user = reinterpret_cast<float*>(outputs + out.user);
  gather_.slots = scatter_.slots = reinterpret_cast<const int64_t*>(inputs + in.slots);
  gather_.batch = scatter_.batch = batch;

  Status status = device.upload(inputs, host_inputs_.as<void>(), in.bytes);
  if (status.ok()) status = device.gather(gather_);
  if (status.ok()) status = engine_->run(memory_, batch, time);
  if (status.ok()) status = device.scatter(scatter_);
  if (status.ok()) status = device.download(host_outputs_.as<void>(), outputs, out.bytes);
  return status;
}

}  // namespace deployrec
