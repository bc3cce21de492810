// Recommender: the session on CUDA and TensorRT, behind a boundary that no exception crosses.
#include <new>

#include "cuda_device.h"
#include "deployrec/serving.h"
#include "session.h"
#include "tensorrt_runner.h"

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

// The same with the arena's turn taken and its device selected.
template <class Call>
Status guarded(Arena& arena, Call call) noexcept {
  return guarded([&] {
    const std::lock_guard<std::mutex> turn(arena.mutex());
    Status status = arena.device()->select();
    return status.ok() ? call() : status;
  });
}

std::vector<Graph> wanted(const Options& options) {
  std::vector<Graph> graphs;
  if (options.step) graphs.push_back(Graph::kStep);
  if (options.advance) graphs.push_back(Graph::kAdvance);
  if (options.encode) graphs.push_back(Graph::kEncode);
  if (options.score) graphs.push_back(Graph::kScore);
  return graphs;
}

}  // namespace

struct Recommender::Parts {
  std::unique_ptr<Session> session;
};

Recommender::Recommender(std::unique_ptr<Parts> parts) noexcept : parts_(std::move(parts)) {}
Recommender::~Recommender() = default;

Status Recommender::load(const Options& options, std::unique_ptr<Recommender>* recommender) noexcept {
  return guarded([&] {
    std::shared_ptr<CudaDevice> device;
    Status status = CudaDevice::create(options.device, &device);
    std::vector<std::unique_ptr<Runner>> engines;
    for (const Graph graph : wanted(options)) {
      if (!status.ok()) return status;
      engines.emplace_back();
      status = TensorRtRunner::load(options.plans, graph, options.plugin_library, device, &engines.back());
    }
    auto parts = std::make_unique<Parts>();
    if (status.ok()) status = Session::create(device, std::move(engines), options, &parts->session);
    if (status.ok()) recommender->reset(new Recommender(std::move(parts)));
    return status;
  });
}

Status Recommender::observe(const Event* events, size_t count) noexcept {
  Session& session = *parts_->session;
  return guarded(session.arena(), [&] { return session.observe(events, count); });
}

Status Recommender::observe_and_recommend(const Event* events, size_t count, int64_t k,
                                          Recommendations* recommendations) noexcept {
  Session& session = *parts_->session;
  return guarded(session.arena(), [&] { return session.observe_and_recommend(events, count, k, recommendations); });
}

Status Recommender::recommend(const Request* requests, size_t count, int64_t k,
                              Recommendations* recommendations) noexcept {
  Session& session = *parts_->session;
  return guarded(session.arena(), [&] { return session.recommend(requests, count, k, recommendations); });
}

Status Recommender::encode(const History* histories, size_t count) noexcept {
  Session& session = *parts_->session;
  return guarded(session.arena(), [&] { return session.encode(histories, count); });
}

Status Recommender::forget(int64_t user) noexcept {
  Arena& arena = parts_->session->arena();
  return guarded(arena, [&] {
    arena.slots().remove(user);
    return Status{};
  });
}

Status Recommender::save(const std::string& path) noexcept {
  Arena& arena = parts_->session->arena();
  return guarded(arena, [&] { return arena.save(path); });
}

Status Recommender::restore(const std::string& path) noexcept {
  Arena& arena = parts_->session->arena();
  return guarded(arena, [&] { return arena.restore(path); });
}

int64_t Recommender::users() const noexcept {
  Arena& arena = parts_->session->arena();
  const std::lock_guard<std::mutex> turn(arena.mutex());
  return arena.slots().size();
}

int64_t Recommender::events_of(int64_t user) const noexcept {
  Arena& arena = parts_->session->arena();
  const std::lock_guard<std::mutex> turn(arena.mutex());
  const int64_t slot = arena.slots().find(user);
  return slot == SlotTable::kNone ? 0 : arena.slots().owner(slot).events;
}

int64_t Recommender::num_items() const noexcept { return parts_->session->arena().bundle().num_items; }
int64_t Recommender::max_k() const noexcept { return parts_->session->max_k(); }
const std::string& Recommender::bundle_id() const noexcept { return parts_->session->arena().bundle().bundle_id; }
const std::string& Recommender::state_id() const noexcept { return parts_->session->arena().bundle().state_id; }

}  // namespace deployrec
