// The file of saved states: whose they are, then every user's record; deployrec/runtime/stores/records.py reads and
// writes the same.
//
//   "DRSTATE4" | uint64 users | text state_id | text meta | users x (text user, text record) | uint32 CRC-32 of all before
//
// Numbers are little-endian; a text is its length, uint32, and its bytes. `meta` is a JSON object that Python's stores
// keep beside the records.
#pragma once

#include <cstdint>
#include <fstream>
#include <functional>
#include <string>

#include "deployrec/status.h"

namespace deployrec {

// Writes through path.tmp, which is renamed once it is whole.
class StateFileWriter {
 public:
  StateFileWriter(const std::string& path, const std::string& state_id, const std::string& meta, uint64_t users);
  ~StateFileWriter();
  void add(const std::string& user, const std::string& record);
  Status finish();

 private:
  void bytes(const void* data, size_t count);
  void text(const std::string& value);

  std::string path_;
  std::string temporary_;
  std::ofstream file_;
  uint32_t checksum_ = 0;
  bool is_finished_ = false;
};

// Hands every user and record to `take`. kFile for a damaged file, kStaleState for one of other states.
Status read_states(const std::string& path, const std::string& state_id, std::string* meta,
                   const std::function<Status(const std::string& user, const std::string& record)>& take);

// A user's number as text; false for any other text.
bool parse_user(const std::string& text, int64_t* user);

}  // namespace deployrec
