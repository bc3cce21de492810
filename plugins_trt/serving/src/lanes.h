// Who may work now: a lane for each call, and none of a user who is at work in another lane.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_set>
#include <vector>

#include "session.h"

namespace deployrec {

class Lanes {
 public:
  explicit Lanes(std::vector<std::unique_ptr<Session>> sessions) : sessions_(std::move(sessions)) {
    for (const std::unique_ptr<Session>& session : sessions_) free_.push_back(session.get());
  }

  // A session for a call on these users; waits for a free lane, and while one of them is at work in another.
  class Turn {
   public:
    template <class Entry>
    Turn(Lanes& lanes, const Entry* entries, size_t count) : lanes_(lanes) {
      std::unique_lock<std::mutex> lock(lanes.mutex_);
      if (lanes.sessions_.size() > 1) {
        for (size_t i = 0; i < count; ++i) users_.push_back(user_of(entries[i]));
      }
      lanes.changed_.wait(lock, [&] {
        return !lanes.free_.empty() && lanes.waiting_alone_ == 0 && !lanes.any_busy(users_);
      });
      session_ = lanes.free_.back();
      lanes.free_.pop_back();
      lanes.busy_.insert(users_.begin(), users_.end());
    }
    ~Turn() {
      {
        const std::lock_guard<std::mutex> lock(lanes_.mutex_);
        lanes_.free_.push_back(session_);
        for (const int64_t user : users_) lanes_.busy_.erase(user);
      }
      lanes_.changed_.notify_all();
    }
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;
    Session& session() const { return *session_; }

   private:
    static int64_t user_of(int64_t user) { return user; }
    template <class Entry>
    static int64_t user_of(const Entry& entry) {
      return entry.user;
    }
    Lanes& lanes_;
    std::vector<int64_t> users_;
    Session* session_ = nullptr;
  };

  // All lanes at once: waits until no call is at work, and holds further ones up.
  class Alone {
   public:
    explicit Alone(Lanes& lanes) : lanes_(lanes), lock_(lanes.mutex_) {
      ++lanes.waiting_alone_;
      lanes.changed_.wait(lock_, [&] { return lanes.free_.size() == lanes.sessions_.size(); });
      --lanes.waiting_alone_;
    }
    ~Alone() {
      lock_.unlock();
      lanes_.changed_.notify_all();
    }
    Alone(const Alone&) = delete;
    Alone& operator=(const Alone&) = delete;
    Session& session() const { return *lanes_.sessions_.front(); }
    const std::vector<std::unique_ptr<Session>>& sessions() const { return lanes_.sessions_; }
    void replace(std::vector<std::unique_ptr<Session>> sessions) {
      lanes_.sessions_ = std::move(sessions);
      lanes_.free_.clear();
      for (const std::unique_ptr<Session>& session : lanes_.sessions_) lanes_.free_.push_back(session.get());
    }

   private:
    Lanes& lanes_;
    std::unique_lock<std::mutex> lock_;
  };

 private:
  bool any_busy(const std::vector<int64_t>& users) const {
    if (busy_.empty()) return false;
    for (const int64_t user : users) {
      if (busy_.count(user) != 0) return true;
    }
    return false;
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::unique_ptr<Session>> sessions_;
  std::vector<Session*> free_;
  std::unordered_set<int64_t> busy_;
  int waiting_alone_ = 0;
};

}  // namespace deployrec
