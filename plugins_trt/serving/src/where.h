// The language of filters over items' columns: deployrec/runtime/where.py describes it, and this reads the same.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "deployrec/status.h"

namespace deployrec {

struct Comparison {
  struct Value {
    bool is_number = false;
    double number = 0;
    std::string text;
  };
  std::string column;
  std::string order;  // ==, !=, <, <=, >, >=, "in" or "has"
  std::vector<Value> values;
};

using Mask = std::vector<char>;  // 1 for a row that fits

// The mask of a condition whose comparisons `test` answers; every mask has `rows` rows. kInvalidArgument for a text that
// is no condition, and whatever `test` refuses.
Status fitting(const std::string& condition, size_t rows, const std::function<Status(const Comparison&, Mask*)>& test,
               Mask* mask);

// Whether a text is a number to filters, and which.
bool parse_number(const std::string& text, double* number);

// Whether `word` stands in `text` with no character of a word beside it.
bool has_word(const std::string& text, const std::string& word);

}  // namespace deployrec
