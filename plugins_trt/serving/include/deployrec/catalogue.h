// A bundle's own item ids, titles and columns, from its items.csv: what stands between a caller's ids and filters and
// the item rows of Recommender.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "deployrec/status.h"

namespace deployrec {

class DEPLOYREC_CXX_API Catalogue {
 public:
  static constexpr const char* kRetiredFile = "retired.csv";

  // Refuses an edited file.
  static Status load(const std::string& bundle, std::unique_ptr<Catalogue>* catalogue) noexcept;

  int64_t num_items() const { return static_cast<int64_t>(ids_.size()) - 1; }
  // The item's row, 0 for an id that the catalogue does not know.
  int64_t row(const std::string& item_id) const;
  // Of rows 1..num_items; the empty texts of padding for any other.
  const std::string& item_id(int64_t row) const { return text(ids_, row); }
  const std::string& title(int64_t row) const { return text(titles_, row); }
  // The k most interacted items, the lower row first among equals: what to show a user without events. Those without
  // an interaction are left out.
  std::vector<int64_t> most_popular(int64_t k) const;
  // Rows, rising, of the items that fit a condition on columns, such as "genre has 'Comedy' and year >= 1990"
  // (deployrec/runtime/where.py has the language), for Event::only and Request::only. Retired items fit none.
  // kInvalidArgument for what is no condition, or names an unknown column.
  Status fitting(const std::string& condition, std::vector<int64_t>* rows) const noexcept;
  bool is_retired(int64_t row) const { return std::binary_search(retired_.begin(), retired_.end(), row); }

 private:
  // Each distinct text once, and which of them each row holds.
  struct Column {
    std::vector<std::string> texts;
    std::vector<int32_t> places;
  };
  Status parse(const std::string& csv, const std::string& path, int64_t num_items);
  Status parse_retired(const std::string& csv, const std::string& path);
  const std::string& text(const std::vector<std::string>& texts, int64_t row) const {
    return texts[row >= 1 && row <= num_items() ? static_cast<size_t>(row) : 0];
  }

  std::vector<std::string> ids_{""};
  std::vector<std::string> titles_{""};
  std::vector<int64_t> popularity_{0};
  std::map<std::string, Column> columns_;
  std::vector<int64_t> retired_;  // rising
  std::unordered_map<std::string, int64_t> rows_;
};

}  // namespace deployrec
