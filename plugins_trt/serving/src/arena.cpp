#include "arena.h"

#include <algorithm>
#include <unordered_set>

#include "state_file.h"

namespace deployrec {
namespace {

// Enough of an id to tell two bundles apart in a message.
std::string shortened(const std::string& id) { return id.size() > 12 ? id.substr(0, 12) + "..." : id; }

Status damaged(const std::string& path) {
  return {StatusCode::kFile, "expected a file of saved states in " + path +
                                 "; got one whose users and items do not fit; save the states again"};
}

std::string describe(const std::vector<StateTensor>& states) {
  std::string text;
  for (const StateTensor& state : states) text += state.name + "=" + std::to_string(state.count) + ", ";
  return text;
}

}  // namespace

Arena::Arena(std::shared_ptr<Device> device, const EngineShape& shape, int64_t max_users, StateStorage storage)
    : device_(std::move(device)),
      bundle_(shape.name),
      states_(shape.states),
      user_dim_(shape.user_dim),
      storage_(storage),
      slots_(max_users),
      recent_(shape.name.window) {
  const auto add = [&](int64_t count) {
    // A lone value is a count, which fp16 would hold exactly up to 2,048 only.
    const bool is_half = storage_ == StateStorage::kFloat16 && count > 1;
    segments_.push_back({static_cast<int64_t>(row_bytes_), count, is_half, nullptr});
    const size_t bytes = static_cast<size_t>(count) * (is_half ? 2 : 4);
    row_bytes_ += (bytes + 3) / 4 * 4;
  };
  for (const StateTensor& state : states_) add(state.count);
  add(user_dim_);
}

Status Arena::create(std::shared_ptr<Device> device, const EngineShape& shape, int64_t max_users, StateStorage storage,
                     std::shared_ptr<Arena>* arena) {
  if (max_users < 1) {
    return {StatusCode::kInvalidArgument,
            "expected max_users of at least 1; got " + std::to_string(max_users) + "; set it to the users you serve"};
  }
  if (shape.states.size() > kMostStates) {
    return {StatusCode::kWrongEngine, "expected plans with up to " + std::to_string(kMostStates) +
                                          " state tensors; got " + std::to_string(shape.states.size()) +
                                          "; serve this bundle from Python"};
  }
  std::shared_ptr<Arena> made(new Arena(std::move(device), shape, max_users, storage));
  Status status = made->memory_.allocate(made->device_, static_cast<size_t>(max_users + 1) * made->row_bytes_);
  if (status.ok()) status = made->fill_zero(made->scratch_slot());
  if (status.ok()) *arena = std::move(made);
  return status;
}

Status Arena::check(const EngineShape& shape) const {
  const PlanName& other = shape.name;
  if (other.bundle_id != bundle_.bundle_id || other.state_id != bundle_.state_id ||
      other.num_items != bundle_.num_items || other.window != bundle_.window) {
    return {StatusCode::kWrongEngine, std::string("expected the ") + text_of(other.graph) + " plan of bundle " +
                                          shortened(bundle_.bundle_id) + "; got one of " +
                                          shortened(other.bundle_id) + "; use the plans of one bundle"};
  }
  if (shape.user_dim != user_dim_ || (moves_states(other.graph) && describe(shape.states) != describe(states_))) {
    return {StatusCode::kWrongEngine, "expected states " + describe(states_) + "user=" + std::to_string(user_dim_) +
                                          "; got " + describe(shape.states) + "user=" +
                                          std::to_string(shape.user_dim) + "; use the plans of one bundle"};
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
      Status status = fill_zero(slot);
      if (!status.ok()) return status;
    }
    slots->push_back(slot);
  }
  return {};
}

Status Arena::zero(int64_t slot) {
  slots_.set_events(slot, 0);
  return fill_zero(slot);
}

void Arena::note(int64_t slot, const int64_t* items, int64_t count) {
  const int64_t before = slots_.owner(slot).events;
  for (int64_t i = 0; i < count; ++i) recent_.note(slot, before + i, items[i]);
  slots_.set_events(slot, before + count);
}

StateMove Arena::move_template(bool with_states, bool with_user) const {
  StateMove move{};
  move.arena = memory_.as<unsigned char>();
  move.row_bytes = static_cast<int64_t>(row_bytes_);
  for (size_t i = 0; i < segments_.size(); ++i) {
    if (i < states_.size() ? with_states : with_user) move.segment[move.segments++] = segments_[i];
  }
  return move;
}

std::string Arena::layout() const {
  return (storage_ == StateStorage::kFloat16 ? "float16:" : "float32:") + describe(states_) +
         "user=" + std::to_string(user_dim_) + "; window=" + std::to_string(recent_.window());
}

Status Arena::save(const std::string& path) {
  StateFileHeader header;
  header.state_id = bundle_.state_id;
  header.layout = layout();
  header.row_bytes = row_bytes_;
  std::vector<int64_t> from;
  for (int64_t slot = 0; slot < slots_.end(); ++slot) {
    const SlotTable::Owner& owner = slots_.owner(slot);
    if (!owner.in_use) continue;
    header.users.push_back({owner.user, owner.events});
    recent_.append_newest(slot, owner.events, &header.recent);
    from.push_back(slot);
  }
  return write_states(path, header, [&](size_t first, size_t count, unsigned char* to) {
    Status status;
    for (size_t i = 0; status.ok() && i < count;) {
      size_t run = 1;  // neighbouring slots are one copy
      while (i + run < count && from[first + i + run] == from[first + i] + static_cast<int64_t>(run)) ++run;
      status = device_->download(to + i * row_bytes_, row(from[first + i]), run * row_bytes_);
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
  if (header.state_id != bundle_.state_id) {
    return {StatusCode::kStaleState, "expected states of id " + shortened(bundle_.state_id) + "; got " +
                                         shortened(header.state_id) + "; encode the histories again"};
  }
  if (header.layout != layout() || header.row_bytes != row_bytes_) {
    return {StatusCode::kStaleState, "expected states stored as " + layout() + "; got " + header.layout +
                                         "; use the storage they were saved with"};
  }
  SlotTable slots(slots_.capacity());
  RecentRows recent(recent_.window());
  size_t next = 0;  // of header.recent
  for (const SavedUser& user : header.users) {
    const int64_t slot = slots.find(user.user) == SlotTable::kNone ? slots.add(user.user) : SlotTable::kNone;
    if (slot == SlotTable::kNone) {
      return {StatusCode::kFull, "expected at most " + std::to_string(slots_.capacity()) + " different users; got " +
                                     std::to_string(header.users.size()) + " saved ones; raise max_users"};
    }
    slots.set_events(slot, user.events);
    const int64_t kept = std::min(user.events, recent.window());
    if (user.events < 0 || static_cast<size_t>(kept) > header.recent.size() - next) return damaged(path);
    for (int64_t event = user.events - kept; event < user.events; ++event) {
      const int64_t item_row = header.recent[next++];
      if (item_row < 1 || item_row > bundle_.num_items) return damaged(path);
      recent.note(slot, event, item_row);
    }
  }
  if (next != header.recent.size()) return damaged(path);
  status = reader.rows([&](size_t first, size_t count, const unsigned char* from) {
    Status copied = device_->upload(row(static_cast<int64_t>(first)), from, count * row_bytes_);
    return copied.ok() ? device_->wait() : copied;
  });
  if (status.ok()) {
    slots_ = std::move(slots);
    recent_ = std::move(recent);
  }
  return status;
}

}  // namespace deployrec
