// The file of saved states: a header that says whose they are, the users, their rows, a checksum over all of it.
//
//   "DRSTATE2" | byte order mark | row bytes | users | recent items | state_id | layout | users x (user, events) |
//   recent items x item row | users x row | FNV-1a
#pragma once

#include <cstdint>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "deployrec/status.h"

namespace deployrec {

struct SavedUser {
  int64_t user;
  int64_t events;
};

struct StateFileHeader {
  std::string state_id;
  std::string layout;  // names, sizes and storage of the state tensors
  uint64_t row_bytes = 0;
  std::vector<SavedUser> users;
  std::vector<int64_t> recent;  // newest item rows, oldest first, user after user
};

// Writes through path.tmp. `read_rows(first, count, to)` delivers the rows of users [first, first + count).
Status write_states(const std::string& path, const StateFileHeader& header,
                    const std::function<Status(size_t first, size_t count, unsigned char* to)>& read_rows);

class StateFileReader {
 public:
  // Reads the header and checks the whole file against its checksum.
  Status open(const std::string& path);
  const StateFileHeader& header() const { return header_; }
  // Hands over all rows in order, in pieces.
  Status rows(const std::function<Status(size_t first, size_t count, const unsigned char* from)>& take);

 private:
  Status read_header();

  std::string path_;
  std::ifstream file_;
  StateFileHeader header_;
  std::streamoff rows_at_ = 0;
  uint64_t size_ = 0;
};

}  // namespace deployrec
