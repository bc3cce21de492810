// How a session is made, what its calls need, and how it reads histories and users beyond a window.
#include <algorithm>
#include <chrono>
#include <limits>
#include <random>

#include "batching.h"
#include "session.h"

namespace deployrec {

Status Session::create(std::shared_ptr<Device> device, std::vector<std::unique_ptr<Runner>> engines,
                       const Options& options, std::unique_ptr<Session>* session, std::shared_ptr<Arena> arena,
                       int64_t lane) {
  const auto mover = std::find_if(engines.begin(), engines.end(), [](const std::unique_ptr<Runner>& engine) {
    return moves_states(engine->shape().name.graph);
  });
  if (mover == engines.end()) {
    return {StatusCode::kInvalidArgument,
            "expected a step, advance or encode graph; got none; leave one of Options::step, advance and encode on"};
  }
  auto made = std::make_unique<Session>();
  made->device_ = device;
  made->exclude_seen_ = options.exclude_seen.value_or(true);
  made->arena_ = std::move(arena);
  Status status;
  if (made->arena_ == nullptr) status = Arena::create(device, (*mover)->shape(), options, &made->arena_);
  for (std::unique_ptr<Runner>& engine : engines) {
    if (!status.ok()) return status;
    const EngineShape& shape = engine->shape();
    if (shape.name.graph == Graph::kEncode && shape.states.empty() && shape.max_time < shape.name.window) {
      return {StatusCode::kWrongEngine, "expected an encode plan that takes " + std::to_string(shape.name.window) +
                                            " events, as this model has no state; got one of " +
                                            std::to_string(shape.max_time) +
                                            "; run deployrec build engine with a larger --max-history"};
    }
    if (made->items_ == nullptr) made->items_ = engine->item_vectors();
    std::unique_ptr<BatchRunner>& place = made->runners_[static_cast<size_t>(shape.name.graph)];
    const std::vector<int64_t> batches =
        batch_sizes(shape.name.graph == Graph::kEncode ? std::vector<int64_t>{} : options.batches, shape.max_batch);
    status =
        BatchRunner::create(std::move(engine), device, made->arena_, lane, batches, options.max_exclude, &place);
  }
  if (status.ok()) *session = std::move(made);
  return status;
}

Session::Call::Call(Arena& arena) : arena_(arena), lock_(arena.mutex()) { ++arena.counters().calls; }

Session::Call::~Call() {
  if (!lock_.owns_lock()) lock_.lock();  // an exception left `unlocked`
  arena_.unpin(slots_);
}

Status Session::Call::claim(Device& device, const std::vector<int64_t>& users) {
  return arena_.claim(device, users, &slots_);
}

void Session::Call::pin(int64_t slot) {
  ++arena_.slots().owner(slot).pins;
  slots_.push_back(slot);
}

void Session::Call::written() {
  thread_local std::mt19937_64 random{std::random_device{}()};
  const double seconds = std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  const uint64_t writer = random();
  for (const int64_t slot : slots_) arena_.note_written(slot, seconds, writer);
}

int64_t Session::max_k() const {
  int64_t most = 0;
  for (const Graph graph : {Graph::kStep, Graph::kScore}) {
    if (runner(graph) == nullptr) continue;
    const int64_t own = runner(graph)->shape().name.max_k;
    most = most == 0 ? own : std::min(most, own);
  }
  return most;
}

int64_t Session::events_of(int64_t user) const {
  const int64_t slot = arena_->slots().find(user);
  return slot == SlotTable::kNone ? 0 : events_in(slot);
}

bool Session::carries(int64_t events) const {
  return bundle().window == 0 || (arena_->has_states() && events <= bundle().window);
}

Status Session::need(Graph graph, const std::string& what_for) const {
  if (runner(graph) != nullptr) return {};
  const std::string name = text_of(graph);
  return {StatusCode::kMissingPlan,
          "expected the " + name + " graph " + what_for + "; got none; leave Options::" + name + " on"};
}

Status Session::need_to_read_again() const {
  const std::string window = std::to_string(bundle().window);
  return need(Graph::kEncode, arena_->has_states()
                                  ? "for users with more than " + window + " events, up to which a state is exact"
                                  : "for a model without a state");
}

Status Session::need_lists(Graph graph, int64_t k, const std::string& what_for) const {
  Status status = need(graph, what_for);
  if (!status.ok()) return status;
  const int64_t most = runner(graph)->shape().name.max_k;
  if (k >= 1 && k <= most) return {};
  return {StatusCode::kInvalidArgument,
          "expected k in 1.." + std::to_string(most) + "; got " + std::to_string(k) +
              (most < bundle().num_items ? "; run deployrec build engine with a larger --max-k"
                                         : "; ask for as many items as there are at most")};
}

Status Session::need_items(int64_t k) const {
  if (items_ == nullptr) {
    return {StatusCode::kMissingPlan,
            "expected a bundle's item table for lists of some items only; got plans; set Options::bundle alone"};
  }
  if (k >= 1 && k <= bundle().num_items) return {};
  return {StatusCode::kInvalidArgument, "expected k in 1.." + std::to_string(bundle().num_items) + "; got " +
                                            std::to_string(k) + "; ask for as many items as there are at most"};
}

Status Session::rank(Call& call, int64_t slot, const ItemRows& only, const ItemRows& exclude, size_t answer,
                     Recommendations* recommendations) {
  std::vector<float> user;
  std::vector<int64_t> excluded(exclude.data, exclude.data + exclude.count);
  const std::vector<int32_t>& seen = arena_->slots().owner(slot).book.seen;
  if (exclude_seen_) excluded.insert(excluded.end(), seen.begin(), seen.end());
  Status status = arena_->read_user(*device_, slot, &user);
  if (!status.ok()) return status;
  const int64_t k = recommendations->k, to = static_cast<int64_t>(answer) * k;
  return call.unlocked([&]() -> Status {
    best_of(*items_, user, only, std::move(excluded), k, recommendations->item_rows.data() + to,
            recommendations->scores.data() + to);
    return {};
  });
}

BatchRow Session::list_row(int64_t slot, const int64_t* item, const ItemRows& exclude, size_t answer) const {
  const std::vector<int32_t>& seen = arena_->slots().owner(slot).book.seen;
  return {slot, item, item == nullptr ? 0 : 1, exclude, exclude_seen_ ? seen.data() : nullptr,
          exclude_seen_ ? seen.size() : 0, answer, exclude_seen_};
}

Status Session::run(Call& call, Graph graph, const std::vector<BatchRow>& rows, int64_t k,
                    Recommendations* recommendations) {
  BatchRunner& engine = *runner(graph);
  RunCounts counts;
  Status status = call.unlocked([&] { return engine.run(rows, k, recommendations, &counts); });
  Counters& counters = arena_->counters();
  counters.runs += counts.runs;
  counters.rows += counts.rows;
  counters.padded_rows += counts.rows - static_cast<int64_t>(rows.size());
  counters.run_seconds += counts.seconds;
  return status;
}

Status Session::read(Call& call, const std::vector<Reading>& readings) {
  std::vector<std::vector<int64_t>> kept(readings.size());  // what users beyond the window are read again from
  std::vector<int64_t> before;
  std::vector<Reading> work;
  for (size_t i = 0; i < readings.size(); ++i) {
    Reading reading = readings[i];
    if (reading.anew) {
      Status status = arena_->zero(*device_, reading.slot);
      if (!status.ok()) return status;
    }
    before.push_back(events_in(reading.slot));
    if (reading.count > 0 && !carries(before[i] + reading.count)) {
      arena_->recent().append_newest(reading.slot, before[i], &kept[i]);
      kept[i].insert(kept[i].end(), reading.items, reading.items + reading.count);
      const int64_t newest = std::min(static_cast<int64_t>(kept[i].size()), bundle().window);
      reading = {reading.slot, kept[i].data() + (static_cast<int64_t>(kept[i].size()) - newest), newest, true};
      Status status = arena_->clear_state(*device_, reading.slot);
      if (!status.ok()) return status;
      ++arena_->counters().read_again;
    }
    work.push_back(reading);
  }
  Status status = read_stretches(call, work);
  for (size_t i = 0; status.ok() && i < readings.size(); ++i) {
    arena_->note(readings[i].slot, readings[i].items, readings[i].count);
  }
  return status;
}

// Each stretch of at most max_time events goes through the engine, the shorter ones drop out.
Status Session::read_stretches(Call& call, const std::vector<Reading>& readings) {
  int64_t longest = 0;
  for (const Reading& reading : readings) longest = std::max(longest, reading.count);
  if (longest == 0) return {};
  const int64_t most = runner(Graph::kEncode)->shape().max_time;
  for (int64_t first = 0; first < longest; first += most) {
    std::vector<BatchRow> rows;
    for (const Reading& reading : readings) {
      if (reading.count <= first) continue;
      rows.push_back(
          {reading.slot, reading.items + first, std::min(most, reading.count - first), {}, nullptr, 0, 0, false});
    }
    // Neighbours of one length waste the least padding.
    std::stable_sort(rows.begin(), rows.end(),
                     [](const BatchRow& a, const BatchRow& b) { return a.item_count > b.item_count; });
    Status status = run(call, Graph::kEncode, rows, 0, nullptr);
    if (!status.ok()) return status;
  }
  return {};
}

}  // namespace deployrec
