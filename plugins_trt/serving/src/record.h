// A user's record as bytes, the same that Python's stores keep: deployrec/runtime/records.py has the format.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "deployrec/status.h"
#include "slots.h"

namespace deployrec {

struct RecordLayout {
  int64_t num_items;
  int64_t user_dim;
  int64_t window;
  int64_t state_values;  // of all tensors
};

struct Record {
  int64_t events = 0;
  Book book;
  std::vector<float> user;
  std::vector<int32_t> window;  // newest item rows, the newest last, 0 in front
  std::vector<float> state;     // the tensors one after another, in the manifest's order
};

std::string pack(const Record& record);

// kFile for bytes that are no record of the layout.
Status unpack(const RecordLayout& layout, const std::string& bytes, Record* record);

}  // namespace deployrec
