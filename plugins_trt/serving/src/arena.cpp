#include "arena.h"

#include <unordered_set>

#include "state_file.h"

namespace deployrec {
namespace {

// Enough of an id to tell two bundles apart in a message.
std::string shortened(const std::string& id) { return id.size() > 12 ? id.substr(0, 12) + "..." : id; }

std::string describe(const std::vector<StateTensor>& states) {
  std::string text;
  for (const StateTensor& state : states) text += state.name + "=" + std::to_string(state.count) + ";";
  return text;
}

}  // namespace

Arena::Arena(std::shared_ptr<Device> device, const EngineShape& shape, int64_t max_users, StateStorage storage)
    : device_(std::move(device)),
      bundle_id_(shape.bundle_id),
      state_id_(shape.state_id),
      states_(shape.states),
      storage_(storage),
      slots_(max_users) {
  for (const StateTensor& state : states_) row_values_ += state.count;
}

Status Arena::create(std::shared_ptr<Device> device, const EngineShape& shape, int64_t max_users, StateStorage storage,
                     std::shared_ptr<Arena>* arena) {
  if (max_users < 1) {
    return {StatusCode::kInvalidArgument,
            "expected max_users of at least 1; got " + std::to_string(max_users) + "; set it to the users you serve"};
  }
  if (shape.states.empty() || shape.states.size() > kMostStates) {
    return {StatusCode::kWrongEngine, "expected a plan with 1 to " + std::to_string(kMostStates) +
                                          " state tensors; got " + std::to_string(shape.states.size()) +
                                          "; use a bundle's step plan"};
  }
  std::shared_ptr<Arena> made(new Arena(std::move(device), shape, max_users, storage));
  Status status = made->memory_.allocate(made->device_, static_cast<size_t>(max_users + 1) * made->row_bytes());
  if (status.ok()) status = made->zero(made->scratch_slot());
  if (status.ok()) *arena = std::move(made);
  return status;
}

Status Arena::check(const EngineShape& shape) const {
  if (shape.bundle_id != bundle_id_) {
    return {StatusCode::kWrongEngine, "expected a plan of bundle " + shortened(bundle_id_) + "; got one of " +
                                          shortened(shape.bundle_id) + "; use both plans of one bundle"};
  }
  if (describe(shape.states) != describe(states_)) {
    return {StatusCode::kWrongEngine, "expected states " + describe(states_) + " got " + describe(shape.states) +
                                          " use both plans of one bundle"};
  }
  return {};
}

Status Arena::claim(const std::vector<int64_t>& users, std::vector<int64_t>* slots) {
  std::unordered_set<int64_t> fresh;
  for (const int64_t user : users) {
    if (slots_.find(user) == SlotTable::kNone) fresh.insert(user);
  }
  const int64_t free = slots_.capacity() - slots_.size();
  if (static_cast<int64_t>(fresh.size()) > free) {
    return {StatusCode::kFull, "expected at most " + std::to_string(free) + " new users; got " +
                                   std::to_string(fresh.size()) + "; forget users or raise max_users"};
  }
  slots->clear();
  for (const int64_t user : users) {
    int64_t slot = slots_.find(user);
    if (slot == SlotTable::kNone) {
      slot = slots_.add(user);
      Status status = zero(slot);
      if (!status.ok()) return status;
    }
    slots->push_back(slot);
  }
  return {};
}

Status Arena::zero(int64_t slot) { return device_->fill_zero(row(slot), row_bytes()); }

StateMove Arena::move_template() const {
  StateMove move{};
  move.arena = memory_.as<void>();
  move.row_values = row_values_;
  move.is_half = storage_ == StateStorage::kFloat16;
  int64_t offset = 0;
  for (const StateTensor& state : states_) {
    move.segment[move.segments++] = {offset, state.count, nullptr};
    offset += state.count;
  }
  return move;
}

std::string Arena::layout() const {
  return (storage_ == StateStorage::kFloat16 ? "float16:" : "float32:") + describe(states_);
}

Status Arena::save(const std::string& path) {
  StateFileHeader header{state_id_, layout(), row_bytes(), {}};
  std::vector<int64_t> from;
  for (int64_t slot = 0; slot < slots_.end(); ++slot) {
    const SlotTable::Owner& owner = slots_.owner(slot);
    if (!owner.in_use) continue;
    header.users.push_back({owner.user, owner.events});
    from.push_back(slot);
  }
  return write_states(path, header, [&](size_t first, size_t count, unsigned char* to) {
    Status status;
    for (size_t i = 0; status.ok() && i < count;) {
      size_t run = 1;  // neighbouring slots are one copy
      while (i + run < count && from[first + i + run] == from[first + i] + static_cast<int64_t>(run)) ++run;
      status = device_->download(to + i * row_bytes(), row(from[first + i]), run * row_bytes());
      i += run;
    }
    return status.ok() ? device_->wait() : status;
  });
}

Status Arena::restore(const std::string& path) {
  StateFileReader reader;
  Status status = reader.open(path);
  if (!status.ok()) return status;
  const StateFileHeader& header = reader.header();
  if (header.state_id != state_id_) {
    return {StatusCode::kStaleState, "expected states of id " + shortened(state_id_) + "; got " +
                                         shortened(header.state_id) + "; encode the histories again"};
  }
  if (header.layout != layout() || header.row_bytes != row_bytes()) {
    return {StatusCode::kStaleState, "expected states stored as " + layout() + " got " + header.layout +
                                         " use the storage they were saved with"};
  }
  SlotTable slots(slots_.capacity());
  for (const SavedUser& user : header.users) {
    const int64_t slot = slots.find(user.user) == SlotTable::kNone ? slots.add(user.user) : SlotTable::kNone;
    if (slot == SlotTable::kNone) {
      return {StatusCode::kFull, "expected at most " + std::to_string(slots_.capacity()) + " different users; got " +
                                     std::to_string(header.users.size()) + " saved ones; raise max_users"};
    }
    slots.set_events(slot, user.events);
  }
  status = reader.rows([&](size_t first, size_t count, const unsigned char* from) {
    Status copied = device_->upload(row(static_cast<int64_t>(first)), from, count * row_bytes());
    return copied.ok() ? device_->wait() : copied;
  });
  if (status.ok()) slots_ = std::move(slots);
  return status;
}

}  // namespace deployrec
