#include "deployrec/catalogue.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <exception>
#include <limits>
#include <numeric>

#include "bundle.h"
#include "where.h"

namespace deployrec {
namespace {

constexpr const char* kFile = "items.csv";

template <class Value>
bool holds(const Value& own, const std::string& order, const Value& value) {
  if (order == "==" || order == "in") return own == value;
  if (order == "!=") return own != value;
  if (order == "<") return own < value;
  if (order == "<=") return own <= value;
  if (order == ">") return own > value;
  return own >= value;
}

// Whether an item that holds `text` fits.
bool fits(const std::string& text, const Comparison& test) {
  if (test.order == "has") return has_word(text, test.values.front().text);
  double number = 0;
  if (!parse_number(text, &number)) number = std::numeric_limits<double>::quiet_NaN();
  return std::any_of(test.values.begin(), test.values.end(), [&](const Comparison::Value& value) {
    return value.is_number ? holds(number, test.order, value.number) : holds(text, test.order, value.text);
  });
}

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
    if (status.ok() && opened.has(kRetiredFile)) {
      status = opened.read(kRetiredFile, &csv);
      if (status.ok()) status = made->parse_retired(csv, bundle + "/" + kRetiredFile);
    }
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
  std::vector<Column*> columns;
  std::vector<std::unordered_map<std::string, int32_t>> places;
  for (size_t i = 3; is_whole && i < header.size(); ++i) {
    columns.push_back(&columns_[header[i]]);
    *columns.back() = {{""}, {0}};  // the padding's
    places.push_back({{"", 0}});
  }
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
    for (size_t i = 0; i < columns.size(); ++i) {
      const std::string& text = fields[i + 3];
      const auto [place, is_new] = places[i].emplace(text, static_cast<int32_t>(columns[i]->texts.size()));
      if (is_new) columns[i]->texts.push_back(text);
      columns[i]->places.push_back(place->second);
    }
  }
  if (is_whole && this->num_items() == num_items) return {};
  return {StatusCode::kFile, "expected item_id,title,popularity of " + std::to_string(num_items) +
                                 " different items in " + path + "; got others; export the bundle again"};
}

Status Catalogue::parse_retired(const std::string& csv, const std::string& path) {
  size_t at = 0;
  std::string wrong = next_line(csv, &at).front();
  bool is_whole = wrong == "item_id";
  while (is_whole && at < csv.size()) {
    wrong = next_line(csv, &at).front();
    retired_.push_back(row(wrong));
    is_whole = retired_.back() != 0;
  }
  std::sort(retired_.begin(), retired_.end());
  if (is_whole) return {};
  return {StatusCode::kFile, "expected item_id and items of " + std::string(kFile) + " in " + path + "; got '" + wrong +
                                 "'; retire them again"};
}

Status Catalogue::fitting(const std::string& condition, std::vector<int64_t>* rows) const noexcept {
  try {
    const auto test = [&](const Comparison& comparison, Mask* mask) -> Status {
      const std::string& name = comparison.column;
      const auto column = columns_.find(name);
      if (column != columns_.end()) {
        Mask distinct;
        for (const std::string& text : column->second.texts) distinct.push_back(fits(text, comparison));
        for (size_t i = 0; i < mask->size(); ++i) (*mask)[i] = distinct[static_cast<size_t>(column->second.places[i])];
        return {};
      }
      if (name != "item_id" && name != "title" && name != "popularity") {
        std::string known = "item_id, title, popularity";
        for (const auto& other : columns_) known += ", " + other.first;
        return {StatusCode::kInvalidArgument, "expected a column of items.csv (" + known + ") in the filter; got '" +
                                                  name + "'; name one of them"};
      }
      for (size_t i = 0; i < mask->size(); ++i) {
        (*mask)[i] = name == "popularity" ? fits(std::to_string(popularity_[i]), comparison)
                                          : fits(name == "title" ? titles_[i] : ids_[i], comparison);
      }
      return {};
    };
    Mask mask;
    Status status = deployrec::fitting(condition, ids_.size(), test, &mask);
    rows->clear();
    for (int64_t row = 1; status.ok() && row <= num_items(); ++row) {
      if (mask[static_cast<size_t>(row)] != 0 && !is_retired(row)) rows->push_back(row);
    }
    return status;
  } catch (const std::exception&) {
    return {StatusCode::kOutOfMemory, "out of memory"};
  }
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
