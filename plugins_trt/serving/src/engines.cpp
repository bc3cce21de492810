// StepEngine and EncodeEngine: the sessions on CUDA and TensorRT, behind a boundary that no exception crosses.
#include <new>

#include "batching.h"
#include "cuda_device.h"
#include "deployrec/serving.h"
#include "sessions.h"
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

Status check_kind(const Runner& engine, const std::string& plan, bool is_encode) {
  if ((engine.shape().max_time > 0) == is_encode) return {};
  const char* wanted = is_encode ? "an encode" : "a step";
  return {StatusCode::kWrongEngine, std::string("expected ") + wanted + " plan in " + plan + "; got " +
                                        (is_encode ? "a step" : "an encode") + " plan; pass the other file"};
}

}  // namespace

struct StepEngine::Parts {
  std::shared_ptr<CudaDevice> device;
  std::shared_ptr<Arena> arena;
  std::unique_ptr<BatchRunner> runner;
};

StepEngine::StepEngine(std::unique_ptr<Parts> parts) noexcept : parts_(std::move(parts)) {}
StepEngine::~StepEngine() = default;

Status StepEngine::load(const StepOptions& options, std::unique_ptr<StepEngine>* engine) noexcept {
  return guarded([&] {
    auto parts = std::make_unique<Parts>();
    Status status = CudaDevice::create(options.device, &parts->device);
    std::unique_ptr<Runner> runner;
    if (status.ok()) status = TensorRtRunner::load(options.plan, "", parts->device, &runner);
    if (status.ok()) status = check_kind(*runner, options.plan, false);
    if (status.ok()) {
      status = Arena::create(parts->device, runner->shape(), options.max_users, options.storage, &parts->arena);
    }
    if (!status.ok()) return status;
    const auto batches = batch_sizes(options.batches, runner->shape().max_batch);
    status = BatchRunner::create(std::move(runner), parts->arena, batches, options.max_exclude, &parts->runner);
    if (status.ok()) engine->reset(new StepEngine(std::move(parts)));
    return status;
  });
}

Status StepEngine::step(const Event* events, size_t count, Recommendations* recommendations) noexcept {
  return guarded(*parts_->arena, [&] { return run_step(*parts_->runner, events, count, recommendations); });
}

Status StepEngine::forget(int64_t user) noexcept {
  return guarded(*parts_->arena, [&] {
    parts_->arena->slots().remove(user);
    return Status{};
  });
}

Status StepEngine::save(const std::string& path) noexcept {
  return guarded(*parts_->arena, [&] { return parts_->arena->save(path); });
}

Status StepEngine::restore(const std::string& path) noexcept {
  return guarded(*parts_->arena, [&] { return parts_->arena->restore(path); });
}

int64_t StepEngine::users() const noexcept {
  const std::lock_guard<std::mutex> turn(parts_->arena->mutex());
  return parts_->arena->slots().size();
}

int64_t StepEngine::events_of(int64_t user) const noexcept {
  const std::lock_guard<std::mutex> turn(parts_->arena->mutex());
  const SlotTable& slots = parts_->arena->slots();
  const int64_t slot = slots.find(user);
  return slot == SlotTable::kNone ? 0 : slots.owner(slot).events;
}

const std::string& StepEngine::bundle_id() const noexcept { return parts_->arena->bundle_id(); }

int64_t StepEngine::num_items() const noexcept { return parts_->runner->shape().num_items; }

int64_t StepEngine::window() const noexcept { return parts_->runner->shape().window; }

struct EncodeEngine::Parts {
  std::shared_ptr<Arena> arena;
  std::unique_ptr<BatchRunner> runner;
};

EncodeEngine::EncodeEngine(std::unique_ptr<Parts> parts) noexcept : parts_(std::move(parts)) {}
EncodeEngine::~EncodeEngine() = default;

Status EncodeEngine::load(const EncodeOptions& options, const StepEngine& step,
                          std::unique_ptr<EncodeEngine>* engine) noexcept {
  return guarded(*step.parts_->arena, [&] {
    auto parts = std::make_unique<Parts>();
    parts->arena = step.parts_->arena;
    std::unique_ptr<Runner> runner;
    Status status = TensorRtRunner::load(options.plan, options.plugin_library, step.parts_->device, &runner);
    if (status.ok()) status = check_kind(*runner, options.plan, true);
    if (!status.ok()) return status;
    const auto batches = batch_sizes({}, runner->shape().max_batch);
    status = BatchRunner::create(std::move(runner), parts->arena, batches, options.max_exclude, &parts->runner);
    if (status.ok()) engine->reset(new EncodeEngine(std::move(parts)));
    return status;
  });
}

Status EncodeEngine::encode(const History* histories, size_t count, Recommendations* recommendations) noexcept {
  return guarded(*parts_->arena, [&] { return run_encode(*parts_->runner, histories, count, recommendations); });
}

}  // namespace deployrec
