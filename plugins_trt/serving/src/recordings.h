// Work that is done once as it is, recorded, and replayed from then on; done as it is for ever where it cannot be
// recorded.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>

#include "deployrec/status.h"
#include "device.h"

namespace deployrec {

template <class Recording>
class Recordings {
 public:
  using Log = std::function<void(const std::string&)>;
  explicit Recordings(Log log) : log_(std::move(log)) {}

  // `work` ends with its results there; `record(work, &recording)` does none of it. A failed recording costs no result:
  // the states have moved, so the call has done what it was asked.
  template <class Replay, class Record>
  Status repeat(const WorkKey& key, const std::function<Status()>& work, Replay replay, Record record) {
    const auto found = recordings_.find(key);
    if (found != recordings_.end()) return replay(found->second);
    Status status = work();
    if (!status.ok() || not_recordable_.count(key) != 0) return status;
    Recording recording{};
    const Status recorded = record(&recording);
    if (recorded.ok()) {
      recordings_.emplace(key, recording);
    } else {
      not_recordable_.insert(key);
      if (log_) log_("runs of batch " + std::to_string(std::get<1>(key)) + " go unrecorded: " + recorded.message());
    }
    return status;
  }

  template <class Visit>
  void for_each(Visit visit) const {
    for (const auto& recording : recordings_) visit(recording.second);
  }

 private:
  Log log_;
  std::map<WorkKey, Recording> recordings_;
  std::set<WorkKey> not_recordable_;
};

}  // namespace deployrec
