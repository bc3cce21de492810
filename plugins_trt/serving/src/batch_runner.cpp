#include "batch_runner.h"

#include <algorithm>
#include <cstring>

#include "batching.h"

namespace deployrec {
namespace {

// Each tensor begins on its own cache line, as TensorRT asks for.
constexpr size_t kAlignment = 256;

size_t padded(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

// Few sizes, so few set-ups and recordings: powers of two up to the engine's largest.
int64_t rounded_up(int64_t value, int64_t largest) {
  int64_t power = 1;
  while (power < value) power *= 2;
  return std::min(power, largest);
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

  InputPlaces(const RunSize& size, int64_t exclude_width) {
    Pieces pieces;
    const auto rows = static_cast<size_t>(size.batch) * sizeof(int64_t);
    slots = pieces.add(rows);
    lengths = pieces.add(rows);
    items = pieces.add(rows * static_cast<size_t>(size.time));
    exclude = pieces.add(rows * static_cast<size_t>(exclude_width));
    bytes = pieces.bytes();
  }
};

struct ListPlaces {
  size_t items, scores, bytes;

  explicit ListPlaces(const RunSize& size) {
    Pieces pieces;
    const auto answers = static_cast<size_t>(size.batch) * static_cast<size_t>(size.k);
    items = pieces.add(answers * sizeof(int64_t));
    scores = pieces.add(answers * sizeof(float));
    bytes = pieces.bytes();
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
  exclude_width = std::min(exclude_width, engine->shape().max_exclude);  // 0 of graphs without lists
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
      gather_(arena_->move_template(moves_states(engine->shape().name.graph), !moves_states(engine->shape().name.graph))),
      scatter_(arena_->move_template(true, true)),
      engine_(std::move(engine)) {}

Status BatchRunner::allocate() {
  const RunSize largest{batches_.back(), std::max<int64_t>(1, shape().max_time), shape().name.max_k};
  const InputPlaces in(largest, exclude_width_);
  const ListPlaces lists(largest);
  Pieces states;
  std::vector<size_t> past, present;
  for (const StateTensor& state : shape().states) {
    const size_t bytes = static_cast<size_t>(largest.batch * state.count) * sizeof(float);
    past.push_back(states.add(bytes));
    present.push_back(states.add(bytes));
  }
  const size_t user = states.add(static_cast<size_t>(largest.batch * shape().user_dim) * sizeof(float));
  const std::shared_ptr<Device>& device = arena_->device();
  Status status = device_inputs_.allocate(device, in.bytes);
  if (status.ok()) status = device_states_.allocate(device, states.bytes());
  if (status.ok()) status = host_inputs_.allocate(device, in.bytes, true);
  if (status.ok() && lists.bytes > 0) status = device_outputs_.allocate(device, lists.bytes);
  if (status.ok() && lists.bytes > 0) status = host_outputs_.allocate(device, lists.bytes, true);
  if (!status.ok()) return status;

  const auto tensor = [&](size_t at) { return reinterpret_cast<float*>(device_states_.as<unsigned char>() + at); };
  memory_.exclude_width = exclude_width_;
  memory_.user = tensor(user);
  if (!moves_states(graph())) {
    gather_.segment[0].tensor = memory_.user;
    return {};
  }
  for (size_t i = 0; i < past.size(); ++i) {
    memory_.past.push_back(tensor(past[i]));
    memory_.present.push_back(tensor(present[i]));
    gather_.segment[i].tensor = memory_.past[i];
    scatter_.segment[i].tensor = memory_.present[i];
  }
  scatter_.segment[past.size()].tensor = memory_.user;
  return {};
}

Status BatchRunner::run(const std::vector<BatchRow>& rows, int64_t k, Recommendations* recommendations) {
  const auto most = static_cast<size_t>(batches_.back());
  for (size_t first = 0; first < rows.size(); first += most) {
    const auto count = static_cast<int64_t>(std::min(most, rows.size() - first));
    Status status = run_batch(rows.data() + first, count, k, recommendations);
    if (!status.ok()) return status;
  }
  return {};
}

Status BatchRunner::run_batch(const BatchRow* rows, int64_t count, int64_t k, Recommendations* recommendations) {
  RunSize size;
  size.batch = smallest_batch(batches_, count);
  const bool is_encode = graph() == Graph::kEncode;
  if (is_encode) {
    for (int64_t i = 0; i < count; ++i) size.time = std::max(size.time, rows[i].item_count);
    size.time = rounded_up(size.time, shape().max_time);
  }
  if (makes_lists(graph())) size.k = rounded_up(k, shape().name.max_k);
  stage(rows, count, size);
  const auto work = [&] { return launch(size); };
  // But for an encode engine's time, batch and k are all that the work depends on.
  Status status = is_encode ? work() : arena_->device()->repeat({static_cast<int>(graph()), size.batch, size.k}, work);
  if (status.ok()) status = arena_->device()->wait();
  if (!status.ok() || !makes_lists(graph())) return status;

  const ListPlaces lists(size);
  const auto* items = reinterpret_cast<const int64_t*>(host_outputs_.as<unsigned char>() + lists.items);
  const auto* scores = reinterpret_cast<const float*>(host_outputs_.as<unsigned char>() + lists.scores);
  for (int64_t i = 0; i < count; ++i) {
    const auto to = static_cast<int64_t>(rows[i].answer) * k;
    std::copy_n(items + i * size.k, k, recommendations->item_rows.begin() + to);
    std::copy_n(scores + i * size.k, k, recommendations->scores.begin() + to);
  }
  return {};
}

// Rows beyond `count` are padding: item 0, length 0, the scratch slot.
void BatchRunner::stage(const BatchRow* rows, int64_t count, const RunSize& size) {
  const InputPlaces in(size, exclude_width_);
  auto* host = host_inputs_.as<unsigned char>();
  std::memset(host, 0, in.bytes);
  auto* slots = reinterpret_cast<int64_t*>(host + in.slots);
  auto* lengths = reinterpret_cast<int64_t*>(host + in.lengths);
  auto* items = reinterpret_cast<int64_t*>(host + in.items);
  auto* exclude = reinterpret_cast<int64_t*>(host + in.exclude);
  std::fill_n(slots, size.batch, arena_->scratch_slot());
  for (int64_t i = 0; i < count; ++i) {
    const BatchRow& row = rows[i];
    slots[i] = row.slot;
    lengths[i] = row.item_count;
    std::copy_n(row.items, row.item_count, items + i * size.time);
    const auto kept = std::min(row.exclude.count, static_cast<size_t>(exclude_width_));
    std::copy_n(row.exclude.data + (row.exclude.count - kept), kept, exclude + i * exclude_width_);
  }
}

Status BatchRunner::launch(const RunSize& size) {
  Device& device = *arena_->device();
  const InputPlaces in(size, exclude_width_);
  const ListPlaces lists(size);
  auto* inputs = device_inputs_.as<unsigned char>();
  auto* outputs = device_outputs_.as<unsigned char>();
  memory_.items = reinterpret_cast<int64_t*>(inputs + in.items);
  memory_.lengths = reinterpret_cast<int64_t*>(inputs + in.lengths);
  if (makes_lists(graph())) {
    memory_.exclude = reinterpret_cast<int64_t*>(inputs + in.exclude);
    memory_.topk_items = reinterpret_cast<int64_t*>(outputs + lists.items);
    memory_.topk_scores = reinterpret_cast<float*>(outputs + lists.scores);
  }
  gather_.slots = scatter_.slots = reinterpret_cast<const int64_t*>(inputs + in.slots);
  gather_.batch = scatter_.batch = size.batch;

  Status status = device.upload(inputs, host_inputs_.as<void>(), in.bytes);
  if (status.ok() && gather_.segments > 0) status = device.gather(gather_);
  if (status.ok()) status = engine_->run(memory_, size);
  if (status.ok() && moves_states(graph())) status = device.scatter(scatter_);
  if (status.ok() && lists.bytes > 0) status = device.download(host_outputs_.as<void>(), outputs, lists.bytes);
  return status;
}

}  // namespace deployrec
