#include "batch_runner.h"

#include <algorithm>
#include <chrono>
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

// Room for excluded items: what a request does not leave out is hardly paid for, and there are few widths.
int64_t exclude_width(size_t excluded, int64_t most) {
  int64_t width = 64;
  while (static_cast<size_t>(width) < excluded) width *= 4;
  return std::min(width, most);
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

  explicit InputPlaces(const RunSize& size) {
    Pieces pieces;
    const auto rows = static_cast<size_t>(size.batch) * sizeof(int64_t);
    slots = pieces.add(rows);
    lengths = pieces.add(rows);
    items = pieces.add(rows * static_cast<size_t>(size.time));
    exclude = pieces.add(rows * static_cast<size_t>(size.exclude));
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

// The newest `width` of what a row leaves out, which ends in what the call named, padded with 0.
void stage_excluded(const BatchRow& row, int64_t width, int64_t* to) {
  size_t skip = row.excluded() - std::min(row.excluded(), static_cast<size_t>(width));
  const auto put = [&](const auto* items, size_t count) {
    const size_t skipped = std::min(skip, count);
    skip -= skipped;
    to = std::copy(items + skipped, items + count, to);
  };
  put(row.seen, row.seen_count);
  if (row.leaves_out_items) put(row.items, static_cast<size_t>(row.item_count));
  put(row.exclude.data, row.exclude.count);
}

}  // namespace

Status BatchRunner::create(std::unique_ptr<Runner> engine, std::shared_ptr<Device> device,
                           std::shared_ptr<Arena> arena, int64_t lane, std::vector<int64_t> batches,
                           int64_t most_excluded, std::unique_ptr<BatchRunner>* runner) {
  Status status = arena->check(engine->shape());
  if (!status.ok()) return status;
  if (most_excluded < 1) {
    return {StatusCode::kInvalidArgument,
            "expected max_exclude of at least 1; got " + std::to_string(most_excluded) + "; the default is 512"};
  }
  most_excluded = std::min(most_excluded, engine->shape().max_exclude);  // 0 of graphs without lists
  std::unique_ptr<BatchRunner> made(new BatchRunner(std::move(engine), std::move(device), std::move(arena), lane,
                                                    std::move(batches), most_excluded));
  status = made->allocate();
  if (status.ok()) *runner = std::move(made);
  return status;
}

BatchRunner::BatchRunner(std::unique_ptr<Runner> engine, std::shared_ptr<Device> device, std::shared_ptr<Arena> arena,
                         int64_t lane, std::vector<int64_t> batches, int64_t most_excluded)
    : device_(std::move(device)),
      arena_(std::move(arena)),
      scratch_slot_(arena_->scratch_slot(lane)),
      batches_(std::move(batches)),
      most_excluded_(most_excluded),
      gather_(arena_->move_template(moves_states(engine->shape().name.graph), !moves_states(engine->shape().name.graph))),
      scatter_(arena_->move_template(true, true)),
      engine_(std::move(engine)) {}

Status BatchRunner::allocate() {
  const RunSize largest{batches_.back(), std::max<int64_t>(1, shape().max_time),
                        shape().name.max_k, most_excluded_};
  const InputPlaces in(largest);
  const ListPlaces lists(largest);
  Pieces states;
  std::vector<size_t> past, present;
  for (const StateTensor& state : shape().states) {
    const size_t bytes = static_cast<size_t>(largest.batch * state.count) * sizeof(float);
    past.push_back(states.add(bytes));
    present.push_back(states.add(bytes));
  }
  const size_t user = states.add(static_cast<size_t>(largest.batch * shape().user_dim) * sizeof(float));
  Status status = device_inputs_.allocate(device_, in.bytes);
  if (status.ok()) status = device_states_.allocate(device_, states.bytes());
  if (status.ok()) status = host_inputs_.allocate(device_, in.bytes, true);
  if (status.ok() && lists.bytes > 0) status = device_outputs_.allocate(device_, lists.bytes);
  if (status.ok() && lists.bytes > 0) status = host_outputs_.allocate(device_, lists.bytes, true);
  if (!status.ok()) return status;

  const auto tensor = [&](size_t at) { return reinterpret_cast<float*>(device_states_.as<unsigned char>() + at); };
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

Status BatchRunner::run(const std::vector<BatchRow>& rows, int64_t k, Recommendations* recommendations,
                        RunCounts* counts) {
  const auto begin = std::chrono::steady_clock::now();
  const auto most = static_cast<size_t>(batches_.back());
  Status status;
  for (size_t first = 0; status.ok() && first < rows.size(); first += most) {
    const auto count = static_cast<int64_t>(std::min(most, rows.size() - first));
    status = run_batch(rows.data() + first, count, k, recommendations, counts);
  }
  counts->seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return status;
}

Status BatchRunner::warm_up(int64_t batch, int64_t k, Recommendations* recommendations) {
  const int64_t padding = 0;
  std::vector<BatchRow> rows;
  for (int64_t i = 0; i < batch; ++i) {
    const int64_t items = moves_states(graph()) ? 1 : 0;
    rows.push_back({scratch_slot_, &padding, items, {}, nullptr, 0, static_cast<size_t>(i), false});
  }
  RunCounts ignored;
  return run(rows, k, recommendations, &ignored);
}

RunSize BatchRunner::size_of(const BatchRow* rows, int64_t count, int64_t k) const {
  RunSize size;
  const bool takes_any = shape().takes_any_size;
  size.batch = takes_any ? count : smallest_batch(batches_, count);
  if (graph() == Graph::kEncode) {
    for (int64_t i = 0; i < count; ++i) size.time = std::max(size.time, rows[i].item_count);
    if (!takes_any) size.time = rounded_up(size.time, shape().max_time);
  }
  if (!makes_lists(graph())) return size;
  size_t excluded = 0;
  for (int64_t i = 0; i < count; ++i) excluded = std::max(excluded, rows[i].excluded());
  size.k = takes_any ? k : rounded_up(k, shape().name.max_k);
  size.exclude = exclude_width(excluded, most_excluded_);
  return size;
}

Status BatchRunner::run_batch(const BatchRow* rows, int64_t count, int64_t k, Recommendations* recommendations,
                              RunCounts* counts) {
  const RunSize size = size_of(rows, count, k);
  ++counts->runs;
  counts->rows += size.batch;
  stage(rows, count, size);
  const auto work = [&] { return launch(size); };
  // But for an encode engine's time, these are all that the work depends on.
  const WorkKey key{static_cast<int>(graph()), size.batch, size.k, size.exclude};
  Status status = graph() == Graph::kEncode ? work() : device_->repeat(key, work);
  if (status.ok()) status = device_->wait();
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
  const InputPlaces in(size);
  auto* host = host_inputs_.as<unsigned char>();
  std::memset(host, 0, in.bytes);
  auto* slots = reinterpret_cast<int64_t*>(host + in.slots);
  auto* lengths = reinterpret_cast<int64_t*>(host + in.lengths);
  auto* items = reinterpret_cast<int64_t*>(host + in.items);
  auto* exclude = reinterpret_cast<int64_t*>(host + in.exclude);
  std::fill_n(slots, size.batch, scratch_slot_);
  for (int64_t i = 0; i < count; ++i) {
    const BatchRow& row = rows[i];
    slots[i] = row.slot;
    lengths[i] = row.item_count;
    if (moves_states(graph())) std::copy_n(row.items, row.item_count, items + i * size.time);
    if (makes_lists(graph())) stage_excluded(row, size.exclude, exclude + i * size.exclude);
  }
}

Status BatchRunner::launch(const RunSize& size) {
  const InputPlaces in(size);
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

  Status status = device_->upload(inputs, host_inputs_.as<void>(), in.bytes);
  if (status.ok() && gather_.segments > 0) status = device_->gather(gather_);
  if (status.ok()) status = engine_->run(memory_, size);
  if (status.ok() && moves_states(graph())) status = device_->scatter(scatter_);
  if (status.ok() && lists.bytes > 0) status = device_->download(host_outputs_.as<void>(), outputs, lists.bytes);
  return status;
}

}  // namespace deployrec
