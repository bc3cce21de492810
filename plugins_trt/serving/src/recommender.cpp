// Recommender: lanes of sessions over one arena, behind a boundary that no exception crosses.
#include <atomic>
#include <exception>
#include <new>

#include "deployrec/serving.h"
#include "engines.h"
#include "lanes.h"

namespace deployrec {
namespace {

Status failure(StatusCode code, const char* message) noexcept {
  try {
    return {code, message};
  } catch (...) {
    return {code, std::string()};
  }
}

// Runs `call`; whatever it throws becomes a Status.
template <class Call>
Status guarded(Call call) noexcept {
  try {
    return call();
  } catch (const std::bad_alloc&) {
    return failure(StatusCode::kOutOfMemory, "out of memory");
  } catch (const std::exception& error) {
    return failure(StatusCode::kDevice, error.what());
  }
}

// A session for each lane, over `arena`, which takes their bundle's name, or over a new one.
Status make_sessions(const Options& options, std::shared_ptr<Arena> arena, std::vector<Engines> lanes,
                     std::vector<std::unique_ptr<Session>>* sessions) {
  for (Engines& lane : lanes) {
    std::unique_ptr<Session> session;
    Options decided = options;
    decided.exclude_seen = options.exclude_seen.value_or(lane.exclude_seen);
    Status status = Session::create(lane.device, std::move(lane.runners), decided, &session, arena,
                                    static_cast<int64_t>(sessions->size()));
    if (!status.ok()) return status;
    if (arena == nullptr) arena = session->shared_arena();
    sessions->push_back(std::move(session));
  }
  return {};
}

}  // namespace

struct Recommender::Parts {
  Options options;
  std::shared_ptr<Arena> arena;
  std::unique_ptr<Lanes> lanes;
  std::atomic<int64_t> max_k{0};

  void log(const std::string& line) const {
    if (options.log) options.log(line);
  }

  template <class Entry, class Call>
  Status on_lane(const Entry* entries, size_t count, Call call) noexcept {
    return guarded([&] {
      Lanes::Turn turn(*lanes, entries, count);
      return counted(turn.session(), call);
    });
  }
  template <class Call>
  Status alone(Call call) noexcept {
    return guarded([&] {
      Lanes::Alone alone(*lanes);
      return counted(alone.session(), [&](Session& session) { return call(session, alone); });
    });
  }
  // Alone with all that is kept of the users.
  template <class Call>
  Status with_arena(Call call) noexcept {
    return alone([&](Session&, Lanes::Alone&) {
      const std::lock_guard<std::mutex> lock(arena->mutex());
      return call(*arena);
    });
  }

 private:
  template <class Call>
  Status counted(Session& session, Call call) {
    const Selected selected(session.device());
    Status status = selected.status();
    const int64_t evicted = evictions();
    if (status.ok()) status = call(session);
    if (!status.ok()) {
      const std::lock_guard<std::mutex> lock(arena->mutex());
      ++arena->counters().failed_calls;
    }
    if (const int64_t more = options.log ? evictions() - evicted : 0; more > 0) {
      log(std::to_string(more) + " users left the arena for new ones");
    }
    return status;
  }
  int64_t evictions() {
    if (!options.log) return 0;
    const std::lock_guard<std::mutex> lock(arena->mutex());
    return arena->counters().evicted;
  }
};

Recommender::Recommender(std::unique_ptr<Parts> parts) noexcept : parts_(std::move(parts)) {}
Recommender::~Recommender() = default;

Status Recommender::load(const Options& options, std::unique_ptr<Recommender>* recommender) noexcept {
  return guarded([&] {
    auto parts = std::make_unique<Parts>();
    std::vector<std::unique_ptr<Session>> sessions;
    std::vector<Engines> engines;
    Status status = open_engines(options, &engines);
    if (status.ok()) status = make_sessions(options, nullptr, std::move(engines), &sessions);
    if (!status.ok()) return status;
    parts->options = options;
    parts->arena = sessions.front()->shared_arena();
    parts->max_k = sessions.front()->max_k();
    parts->lanes = std::make_unique<Lanes>(std::move(sessions));
    parts->log("serving bundle " + parts->arena->bundle().bundle_id);
    recommender->reset(new Recommender(std::move(parts)));
    return status;
  });
}

Status Recommender::observe(const Event* events, size_t count) noexcept {
  return parts_->on_lane(events, count, [&](Session& session) { return session.observe(events, count); });
}

Status Recommender::observe_and_recommend(const Event* events, size_t count, int64_t k,
                                          Recommendations* recommendations) noexcept {
  return parts_->on_lane(events, count, [&](Session& session) {
    return session.observe_and_recommend(events, count, k, recommendations);
  });
}

Status Recommender::recommend(const Request* requests, size_t count, int64_t k,
                              Recommendations* recommendations) noexcept {
  return parts_->on_lane(requests, count, [&](Session& session) {
    return session.recommend(requests, count, k, recommendations);
  });
}

Status Recommender::encode(const History* histories, size_t count) noexcept {
  return parts_->on_lane(histories, count, [&](Session& session) { return session.encode(histories, count); });
}

Status Recommender::forget(int64_t user) noexcept {
  return parts_->on_lane(&user, 1, [&](Session& session) {
    const std::lock_guard<std::mutex> lock(session.arena().mutex());
    session.arena().slots().remove(user);
    return Status{};
  });
}

Status Recommender::warm_up(const std::vector<int64_t>& batches, int64_t k) noexcept {
  return parts_->alone([&](Session&, Lanes::Alone& alone) {
    Status status;
    for (const std::unique_ptr<Session>& session : alone.sessions()) {
      if (status.ok()) status = session->warm_up(batches, k);
    }
    return status;
  });
}

Status Recommender::export_user(int64_t user, std::string* record) noexcept {
  return parts_->on_lane(&user, 1, [&](Session& session) { return session.export_user(user, record); });
}

Status Recommender::import_user(int64_t user, const std::string& record) noexcept {
  return parts_->on_lane(&user, 1, [&](Session& session) { return session.import_user(user, record); });
}

Status Recommender::save(const std::string& path) noexcept {
  return parts_->with_arena([&](Arena& arena) { return arena.save(path); });
}

Status Recommender::restore(const std::string& path) noexcept {
  return parts_->with_arena([&](Arena& arena) { return arena.restore(path); });
}

Status Recommender::expire() noexcept {
  return parts_->with_arena([](Arena& arena) {
    arena.expire();
    return Status{};
  });
}

int64_t Recommender::users() const noexcept {
  const std::lock_guard<std::mutex> lock(parts_->arena->mutex());
  return parts_->arena->slots().size();
}

std::vector<int64_t> Recommender::user_list() const {
  const std::lock_guard<std::mutex> lock(parts_->arena->mutex());
  const SlotTable& slots = parts_->arena->slots();
  std::vector<int64_t> users;
  for (int64_t slot = slots.oldest(); slot != SlotTable::kNone; slot = slots.owner(slot).newer) {
    users.push_back(slots.owner(slot).user);
  }
  return users;
}

int64_t Recommender::events_of(int64_t user) const noexcept {
  const std::lock_guard<std::mutex> lock(parts_->arena->mutex());
  const SlotTable& slots = parts_->arena->slots();
  const int64_t slot = slots.find(user);
  return slot == SlotTable::kNone ? 0 : slots.owner(slot).events;
}

Counters Recommender::counters() const noexcept {
  const std::lock_guard<std::mutex> lock(parts_->arena->mutex());
  return parts_->arena->counters();
}

int64_t Recommender::num_items() const noexcept { return parts_->arena->bundle().num_items; }

int64_t Recommender::max_k() const noexcept { return parts_->max_k; }

std::string Recommender::bundle_id() const {
  const std::lock_guard<std::mutex> lock(parts_->arena->mutex());
  return parts_->arena->bundle().bundle_id;
}

std::string Recommender::state_id() const { return parts_->arena->bundle().state_id; }

Status Recommender::swap_bundle(const Options& options) noexcept {
  return guarded([&] {
    Options merged = options;
    merged.lanes = parts_->options.lanes;
    std::vector<Engines> engines;
    Status status = open_engines(merged, &engines);
    if (!status.ok()) return status;
    return parts_->alone([&](Session&, Lanes::Alone& alone) {
      std::vector<std::unique_ptr<Session>> sessions;
      const PlanName before = parts_->arena->bundle();
      Status changed = parts_->arena->adopt(engines.front().runners.front()->shape().name);
      if (changed.ok()) changed = make_sessions(merged, parts_->arena, std::move(engines), &sessions);
      if (!changed.ok()) {
        parts_->arena->take_name(before);
        return changed;
      }
      parts_->max_k = sessions.front()->max_k();
      alone.replace(std::move(sessions));
      parts_->log("swapped to bundle " + parts_->arena->bundle().bundle_id);
      return changed;
    });
  });
}

}  // namespace deployrec
