// A bundle's own item ids and titles, from its items.csv: what stands between a caller's ids and the item rows of
// Recommender.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "deployrec/status.h"

namespace deployrec {

class DEPLOYREC_CXX_API Catalogue {
 public:
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

 private:
  Status parse(const std::string& csv, const std::string& path, int64_t num_items);
  const std::string& text(const std::vector<std::string>& texts, int64_t row) const {
    return texts[row >= 1 && row <= num_items() ? static_cast<size_t>(row) : 0];
  }

  std::vector<std::string> ids_{""};
  std::vector<std::string> titles_{""};
  std::vector<int64_t> popularity_{0};
  std::unordered_map<std::string, int64_t> rows_;
};

}  // namespace deployrec
