#include "arena.h"

#include <algorithm>
#include <chrono>
#include <unordered_set>

namespace deployrec {
namespace {

// Enough of an id to tell two bundles apart in a message.
std::string shortened(const std::string& id) { return id.size() > 12 ? id.substr(0, 12) + "..." : id; }

std::string describe(const std::vector<StateTensor>& states) {
  std::string text;
  for (const StateTensor& state : states) text += state.name + "=" + std::to_string(state.count) + ", ";
  return text;
}

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

Arena::Arena(std::shared_ptr<Device> device, const EngineShape& shape, const Options& options)
    : device_(std::move(device)),
      bundle_(shape.name),
      states_(shape.states),
      user_dim_(shape.user_dim),
      eviction_(options.eviction),
      time_to_live_(options.time_to_live),
      slots_(options.max_users),
      recent_(shape.name.window) {
  const auto add = [&](int64_t count) {
    // A lone value is a count, which fp16 would hold exactly up to 2,048 only.
    const bool is_half = options.storage == StateStorage::kFloat16 && count > 1;
    segments_.push_back({static_cast<int64_t>(row_bytes_), count, is_half, nullptr});
    const size_t bytes = static_cast<size_t>(count) * (is_half ? 2 : 4);
    row_bytes_ += (bytes + 3) / 4 * 4;
  };
  for (const StateTensor& state : states_) add(state.count);
  add(user_dim_);
}

Status Arena::create(std::shared_ptr<Device> device, const EngineShape& shape, const Options& options,
                     std::shared_ptr<Arena>* arena) {
  if (options.max_users < 1) {
    return {StatusCode::kInvalidArgument, "expected max_users of at least 1; got " + std::to_string(options.max_users) +
                                              "; set it to the users you serve"};
  }
  if (shape.states.size() > kMostStates) {
    return {StatusCode::kWrongEngine, "expected plans with up to " + std::to_string(kMostStates) +
                                          " state tensors; got " + std::to_string(shape.states.size()) +
                                          "; serve this bundle from Python"};
  }
  std::shared_ptr<Arena> made(new Arena(std::move(device), shape, options));
  const size_t slots = static_cast<size_t>(options.max_users) + static_cast<size_t>(options.lanes);
  Status status = made->memory_.allocate(made->device_, slots * made->row_bytes_);
  const size_t scratch = static_cast<size_t>(options.lanes) * made->row_bytes_;
  if (status.ok()) status = made->device_->fill_zero(made->row(made->scratch_slot(0)), scratch);
  if (status.ok()) status = made->device_->wait();
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

Status Arena::adopt(const PlanName& name) {
  if (name.state_id != bundle_.state_id) {
    return {StatusCode::kStaleState, "expected a bundle of states " + shortened(bundle_.state_id) + "; got " +
                                         shortened(name.state_id) + "; load it aside and encode the histories"};
  }
  take_name(name);
  return {};
}

void Arena::take_name(const PlanName& name) {
  const std::lock_guard<std::mutex> turn(mutex_);
  bundle_ = name;
}

Status Arena::claim(Device& device, const std::vector<int64_t>& users, std::vector<int64_t>* slots) {
  const double time = now();
  std::unordered_set<int64_t> fresh;
  std::vector<int64_t> found;
  for (const int64_t user : users) {
    found.push_back(slots_.find(user));
    if (found.back() == SlotTable::kNone) {
      fresh.insert(user);
    } else {
      ++slots_.owner(found.back()).pins;
    }
  }
  Status status = make_room(static_cast<int64_t>(fresh.size()));
  std::vector<int64_t> blank;
  for (size_t i = 0; status.ok() && i < users.size(); ++i) {
    int64_t& slot = found[i];
    if (slot != SlotTable::kNone) {
      if (is_expired(slots_.owner(slot), time)) {
        slots_.owner(slot).book = {};
        slots_.set_events(slot, 0);
        ++counters_.expired;
        blank.push_back(slot);
      }
    } else {
      slot = slots_.find(users[i]);  // of the same user earlier in the call
      if (slot == SlotTable::kNone) {
        slot = slots_.add(users[i]);
        blank.push_back(slot);
        ++counters_.new_users;
      }
      ++slots_.owner(slot).pins;
    }
    slots_.touch(slot, time);
  }
  // Neighbouring slots are one call.
  std::sort(blank.begin(), blank.end());
  for (size_t i = 0; status.ok() && i < blank.size();) {
    size_t run = 1;
    while (i + run < blank.size() && blank[i + run] == blank[i] + static_cast<int64_t>(run)) ++run;
    status = device.fill_zero(row(blank[i]), run * row_bytes_);
    i += run;
  }
  if (!status.ok()) {
    unpin(found);
    return status;
  }
  *slots = std::move(found);
  return {};
}

void Arena::unpin(const std::vector<int64_t>& slots) {
  for (const int64_t slot : slots) {
    if (slot != SlotTable::kNone) --slots_.owner(slot).pins;
  }
}

bool Arena::is_expired(const SlotTable::Owner& owner, double time) const {
  return time_to_live_ > 0 && owner.used > 0 && time - owner.used > time_to_live_;
}

void Arena::expire() {
  const double time = now();
  for (int64_t slot = slots_.oldest(); slot != SlotTable::kNone && is_expired(slots_.owner(slot), time);) {
    const SlotTable::Owner& owner = slots_.owner(slot);
    const int64_t next = owner.newer;
    if (owner.pins == 0) {
      slots_.remove(owner.user);
      ++counters_.expired;
    }
    slot = next;
  }
}

Status Arena::make_room(int64_t wanted) {
  const auto free = [&] { return slots_.capacity() - slots_.size(); };
  if (wanted > free()) expire();
  if (wanted <= free()) return {};
  std::vector<int64_t> leaving;
  int64_t slot = eviction_ == Eviction::kLeastRecentlyUsed ? slots_.oldest() : SlotTable::kNone;
  for (; slot != SlotTable::kNone && static_cast<int64_t>(leaving.size()) < wanted - free();
       slot = slots_.owner(slot).newer) {
    if (slots_.owner(slot).pins == 0) leaving.push_back(slots_.owner(slot).user);
  }
  const int64_t most = free() + static_cast<int64_t>(leaving.size());
  if (wanted > most) {
    return {StatusCode::kFull, "expected at most " + std::to_string(most) + " new users; got " +
                                   std::to_string(wanted) + "; forget users or raise max_users"};
  }
  for (const int64_t user : leaving) slots_.remove(user);
  counters_.evicted += static_cast<int64_t>(leaving.size());
  return {};
}

Status Arena::zero(Device& device, int64_t slot) {
  Book& book = slots_.owner(slot).book;
  const uint64_t version = book.version;
  book = {};
  book.version = version;
  slots_.set_events(slot, 0);
  return clear_state(device, slot);
}

void Arena::note(int64_t slot, const int64_t* items, int64_t count) {
  SlotTable::Owner& owner = slots_.owner(slot);
  std::vector<int32_t>& seen = owner.book.seen;
  for (int64_t i = 0; i < count; ++i) {
    recent_.note(slot, owner.events + i, items[i]);
    const auto item = static_cast<int32_t>(items[i]);
    const auto at = std::find(seen.begin(), seen.end(), item);
    if (at == seen.end()) {
      seen.push_back(item);
    } else {
      std::rotate(at, at + 1, seen.end());  // the latest is the last
    }
  }
  owner.events += count;
}

void Arena::note_written(int64_t slot, double written, uint64_t writer) {
  Book& book = slots_.owner(slot).book;
  if (book.writer == writer && book.written == written) return;  // the user came twice in the call
  ++book.version;
  book.written = written;
  book.writer = writer;
  book.last_time = kNoTime;
  book.event_id.clear();
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

}  // namespace deployrec
