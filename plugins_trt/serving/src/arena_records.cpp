// Users' records out of the arena and into it, one by one and as a file.
#include <algorithm>
#include <cstring>

#include "arena.h"
#include "half.h"
#include "state_file.h"

namespace deployrec {

RecordLayout Arena::record_layout() const {
  int64_t values = 0;
  for (const StateTensor& state : states_) values += state.count;
  return {bundle_.num_items, user_dim_, bundle_.window, values};
}

Status Arena::read_record(Device& device, int64_t slot, Record* record) {
  std::vector<unsigned char> bytes(row_bytes_);
  Status status = device.download(bytes.data(), row(slot), row_bytes_);
  if (status.ok()) status = device.wait();
  if (!status.ok()) return status;
  const SlotTable::Owner& owner = slots_.owner(slot);
  record->events = owner.events;
  record->book = owner.book;
  std::vector<int32_t> newest;
  recent_.append_newest(slot, owner.events, &newest);
  record->window.assign(static_cast<size_t>(bundle_.window) - newest.size(), 0);
  record->window.insert(record->window.end(), newest.begin(), newest.end());
  from_row(bytes.data(), record);
  return {};
}

Status Arena::read_user(Device& device, int64_t slot, std::vector<float>* user) {
  const StateSegment& segment = segments_.back();
  const auto count = static_cast<size_t>(segment.count);
  const unsigned char* from = row(slot) + segment.offset;
  std::vector<Half> halves(segment.is_half ? count : 0);
  user->resize(count);
  Status status = segment.is_half ? device.download(halves.data(), from, count * sizeof(Half))
                                  : device.download(user->data(), from, count * sizeof(float));
  if (status.ok()) status = device.wait();
  if (segment.is_half) std::transform(halves.begin(), halves.end(), user->begin(), host_half_to_float);
  return status;
}

Status Arena::write_record(Device& device, int64_t slot, const Record& record) {
  std::vector<unsigned char> bytes(row_bytes_);
  to_row(record, bytes.data());
  Status status = device.upload(row(slot), bytes.data(), row_bytes_);
  if (status.ok()) status = device.wait();
  if (status.ok()) put_book(&slots_, &recent_, slot, record);
  return status;
}

void Arena::to_row(const Record& record, unsigned char* row) const {
  const float* from = record.state.data();
  for (size_t i = 0; i < segments_.size(); ++i) {
    const StateSegment& segment = segments_[i];
    if (i == states_.size()) from = record.user.data();
    unsigned char* to = row + segment.offset;
    if (segment.is_half) {
      std::transform(from, from + segment.count, reinterpret_cast<Half*>(to), host_float_to_half);
    } else {
      std::memcpy(to, from, static_cast<size_t>(segment.count) * sizeof(float));
    }
    from += segment.count;
  }
}

void Arena::from_row(const unsigned char* row, Record* record) const {
  record->state.clear();
  for (size_t i = 0; i < segments_.size(); ++i) {
    const StateSegment& segment = segments_[i];
    std::vector<float>& to = i < states_.size() ? record->state : record->user;
    if (i == states_.size()) to.clear();
    const unsigned char* from = row + segment.offset;
    const size_t before = to.size();
    to.resize(before + static_cast<size_t>(segment.count));
    if (segment.is_half) {
      const auto* halves = reinterpret_cast<const Half*>(from);
      std::transform(halves, halves + segment.count, to.begin() + static_cast<int64_t>(before), host_half_to_float);
    } else {
      std::memcpy(to.data() + before, from, static_cast<size_t>(segment.count) * sizeof(float));
    }
  }
}

void Arena::put_book(SlotTable* slots, RecentRows* recent, int64_t slot, const Record& record) const {
  slots->owner(slot).book = record.book;
  slots->set_events(slot, record.events);
  const auto kept = static_cast<int64_t>(std::min<size_t>(static_cast<size_t>(record.events), record.window.size()));
  for (int64_t i = 0; i < kept; ++i) {
    recent->note(slot, record.events - kept + i, *(record.window.end() - kept + i));
  }
}

Status Arena::save(const std::string& path) {
  StateFileWriter writer(path, bundle_.state_id, meta_, static_cast<uint64_t>(slots_.size()));
  Status status;
  for (int64_t slot = 0; status.ok() && slot < slots_.end(); ++slot) {
    if (!slots_.owner(slot).in_use) continue;
    Record record;
    status = read_record(*device_, slot, &record);
    if (status.ok()) writer.add(std::to_string(slots_.owner(slot).user), pack(record));
  }
  return status.ok() ? writer.finish() : status;
}

// All rows are read, checked and held on the host before the first live one is overwritten.
Status Arena::restore(const std::string& path) {
  SlotTable slots(slots_.capacity());
  RecentRows recent(recent_.window());
  std::vector<unsigned char> rows;
  std::string meta;
  const RecordLayout layout = record_layout();
  const auto take = [&](const std::string& user, const std::string& bytes) -> Status {
    int64_t number = 0;
    if (!parse_user(user, &number)) {
      return {StatusCode::kFile, "expected whole numbers as users in " + path + "; got '" + user +
                                     "'; number the users before they are saved for C++"};
    }
    Record record;
    Status read = unpack(layout, bytes, &record);
    if (!read.ok()) return read;
    if (slots.find(number) != SlotTable::kNone) {
      return {StatusCode::kFile,
              "expected each user once in " + path + "; got " + user + " twice; save the states again"};
    }
    const int64_t slot = slots.add(number);
    if (slot == SlotTable::kNone) {
      return {StatusCode::kFull, "expected at most " + std::to_string(slots.capacity()) + " users in " + path +
                                     "; got more; raise max_users"};
    }
    rows.resize(rows.size() + row_bytes_);
    to_row(record, rows.data() + static_cast<size_t>(slot) * row_bytes_);
    put_book(&slots, &recent, slot, record);
    return {};
  };
  Status status = read_states(path, bundle_.state_id, &meta, take);
  if (status.ok() && !rows.empty()) status = device_->upload(row(0), rows.data(), rows.size());
  if (status.ok()) status = device_->wait();
  if (status.ok()) {
    slots_ = std::move(slots);
    recent_ = std::move(recent);
    meta_ = std::move(meta);
  }
  return status;
}

}  // namespace deployrec
