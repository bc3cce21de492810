#include "deployrec/catalogue.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <exception>
#include <numeric>

#include "bundle.h"

namespace deployrec {
namespace {

constexpr const char* kFile = "items.csv";

// Takes one line of CSV off `csv` from `at` on: quoted fields may hold commas, line ends and doubled quotes.
std::vector<std::string> next_line(const std::string& csv, size_t* at) {
  std::vector<std::string> fields(1);
  bool is_quoted = false;
  while (*at < csv.size()) {
    const char character = csv[(*at)++];
    if (is_quoted) {
      if (character != '"') {
        fields.back() += character;
      } else if (*at < csv.size() && csv[*at] == '"') {
        fields.back() += csv[(*at)++];
      } else {
        is_quoted = false;
      }
    } else if (character == '"') {
      is_quoted = true;
    } else if (character == ',') {
      fields.emplace_back();
    } else if (character == '\n') {
      break;
    } else if (character != '\r') {
      fields.back() += character;
    }
  }
  return fields;
}

}  // namespace

Status Catalogue::load(const std::string& bundle, std::unique_ptr<Catalogue>* catalogue) noexcept {
  try {
    Bundle opened;
    std::string csv;
    auto made = std::make_unique<Catalogue>();
    Status status = Bundle::open(bundle, &opened);
    if (status.ok()) status = opened.read(kFile, &csv);
    if (status.ok()) status = made->parse(csv, bundle + "/" + kFile, opened.name(Graph::kScore).num_items);
    if (status.ok()) *catalogue = std::move(made);
    return status;
  } catch (const std::exception&) {
    return {StatusCode::kOutOfMemory, "out of memory"};
  }
}

Status Catalogue::parse(const std::string& csv, const std::string& path, int64_t num_items) {
  size_t at = 0;
  const std::vector<std::string> header = next_line(csv, &at);
  bool is_whole = header.size() >= 3 && header[0] == "item_id" && header[1] == "title" && header[2] == "popularity";
  while (is_whole && at < csv.size()) {
    const std::vector<std::string> fields = next_line(csv, &at);
    errno = 0;
    char* end = nullptr;
    is_whole = fields.size() == header.size();
    if (!is_whole) break;
    popularity_.push_back(std::strtoll(fields[2].c_str(), &end, 10));
    is_whole = errno == 0 && *end == '\0' && popularity_.back() >= 0;
    is_whole = is_whole && rows_.emplace(fields[0], static_cast<int64_t>(ids_.size())).second;
    ids_.push_back(fields[0]);
    titles_.push_back(fields[1]);
  }
  if (is_whole && this->num_items() == num_items) return {};
  return {StatusCode::kFile, "expected item_id,title,popularity of " + std::to_string(num_items) +
                                 " different items in " + path + "; got others; export the bundle again"};
}

int64_t Catalogue::row(const std::string& item_id) const {
  const auto found = rows_.find(item_id);
  return found == rows_.end() ? 0 : found->second;
}

std::vector<int64_t> Catalogue::most_popular(int64_t k) const {
  std::vector<int64_t> rows(static_cast<size_t>(num_items()));
  std::iota(rows.begin(), rows.end(), 1);
  const auto popularity = [&](int64_t row) { return popularity_[static_cast<size_t>(row)]; };
  std::stable_sort(rows.begin(), rows.end(), [&](int64_t a, int64_t b) { return popularity(a) > popularity(b); });
  rows.resize(static_cast<size_t>(std::clamp<int64_t>(k, 0, num_items())));
  while (!rows.empty() && popularity(rows.back()) == 0) rows.pop_back();
  return rows;
}

}  // namespace deployrec
