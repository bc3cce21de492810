#include "record.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "half.h"

namespace deployrec {
namespace {

constexpr char kMagic[4] = {'d', 'R', 'e', 'c'};
constexpr uint8_t kFormat = 2, kHalf = 1;
constexpr float kLargestHalf = 65504.0F;

struct Header {
  char magic[4];
  uint8_t format;
  uint8_t flags;
  uint16_t zero;
  uint64_t version, writer;
  double written;
  uint64_t events;
  int64_t last_time;
  uint64_t position;
  uint32_t seen, event_hashes, event_id, sequences;
};
static_assert(sizeof(Header) == 72);

template <class Value>
void append(std::string* bytes, const std::vector<Value>& values) {
  bytes->append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(Value));
}

// Takes pieces off the front; nothing but nothing is left once one did not fit.
class Pieces {
 public:
  explicit Pieces(const std::string& bytes) : at_(bytes.data()), left_(bytes.size()) {}

  template <class Value>
  bool take(std::vector<Value>* values, size_t count) {
    if (count > left_ / sizeof(Value)) return false;
    values->resize(count);
    if (count > 0) std::memcpy(values->data(), at_, count * sizeof(Value));
    skip(count * sizeof(Value));
    return true;
  }
  bool take(std::string* text, size_t count) {
    if (count > left_) return false;
    text->assign(at_, count);
    skip(count);
    return true;
  }
  bool done() const { return left_ == 0; }

 private:
  void skip(size_t bytes) {
    at_ += bytes;
    left_ -= bytes;
  }
  const char* at_;
  size_t left_;
};

bool fits_half(const std::vector<float>& state) {
  return std::all_of(state.begin(), state.end(), [](float value) { return std::abs(value) <= kLargestHalf; });
}

bool within(const std::vector<int32_t>& rows, int64_t least, int64_t most) {
  return std::all_of(rows.begin(), rows.end(), [&](int32_t row) { return row >= least && row <= most; });
}

bool finite(const std::vector<float>& values) {
  return std::all_of(values.begin(), values.end(), [](float value) { return std::isfinite(value); });
}

}  // namespace

std::string pack(const Record& record) {
  const Book& book = record.book;
  const bool is_half = book.is_half && fits_half(record.state);
  Header header{};
  std::memcpy(header.magic, kMagic, sizeof(kMagic));
  header.format = kFormat;
  header.flags = is_half ? kHalf : 0;
  header.version = book.version;
  header.writer = book.writer;
  header.written = book.written;
  header.events = static_cast<uint64_t>(record.events);
  header.last_time = book.last_time;
  header.position = book.position;
  header.seen = static_cast<uint32_t>(book.seen.size());
  header.event_hashes = static_cast<uint32_t>(book.event_hashes.size() / sizeof(uint64_t));
  header.event_id = static_cast<uint32_t>(book.event_id.size());
  header.sequences = static_cast<uint32_t>(book.sequences.size());
  std::string bytes(reinterpret_cast<const char*>(&header), sizeof(header));
  append(&bytes, record.user);
  append(&bytes, record.window);
  if (is_half) {
    std::vector<Half> halves(record.state.size());
    std::transform(record.state.begin(), record.state.end(), halves.begin(), host_float_to_half);
    append(&bytes, halves);
  } else {
    append(&bytes, record.state);
  }
  append(&bytes, book.seen);
  bytes += book.event_hashes;
  if (!book.event_id.empty()) bytes.append(book.event_id, 1);
  return bytes + book.sequences;
}

Status unpack(const RecordLayout& layout, const std::string& bytes, Record* record) {
  const Status broken{StatusCode::kFile, "expected a user's record of this bundle's states; got other bytes (" +
                                             std::to_string(bytes.size()) + "); export the user again"};
  Header header;
  if (bytes.size() < sizeof(header)) return broken;
  std::memcpy(&header, bytes.data(), sizeof(header));
  if (std::memcmp(header.magic, kMagic, sizeof(kMagic)) != 0 || header.events > INT64_MAX) return broken;
  if (header.format != kFormat) {
    return {StatusCode::kFile, "expected a user's record of format " + std::to_string(kFormat) + "; got format " +
                                   std::to_string(header.format) + ", of another deployrec; encode the user again"};
  }
  Record read;
  Book& book = read.book;
  book.is_half = (header.flags & kHalf) != 0;
  book.version = header.version;
  book.writer = header.writer;
  book.written = header.written;
  book.last_time = header.last_time;
  book.position = header.position;
  read.events = static_cast<int64_t>(header.events);
  const std::string body = bytes.substr(sizeof(header));
  Pieces pieces(body);
  const auto values = static_cast<size_t>(layout.state_values);
  std::vector<Half> halves;
  bool is_whole = pieces.take(&read.user, static_cast<size_t>(layout.user_dim)) &&
                  pieces.take(&read.window, static_cast<size_t>(layout.window)) &&
                  (book.is_half ? pieces.take(&halves, values) : pieces.take(&read.state, values)) &&
                  pieces.take(&book.seen, header.seen) &&
                  pieces.take(&book.event_hashes, size_t{header.event_hashes} * sizeof(uint64_t));
  if (is_whole && header.event_id > 0) {
    is_whole = pieces.take(&book.event_id, header.event_id - 1);
    book.event_id.insert(0, 1, '\0');
  }
  is_whole = is_whole && pieces.take(&book.sequences, header.sequences) && pieces.done();
  if (!is_whole) return broken;
  if (book.is_half) {
    read.state.resize(values);
    std::transform(halves.begin(), halves.end(), read.state.begin(), host_half_to_float);
  }
  if (!within(book.seen, 1, layout.num_items) || !within(read.window, 0, layout.num_items) || !finite(read.user) ||
      !finite(read.state)) {
    return broken;
  }
  const int64_t kept = std::min(read.events, layout.window);
  const std::vector<int32_t> newest(read.window.end() - kept, read.window.end());
  if (!within(newest, 1, layout.num_items)) return broken;
  *record = std::move(read);
  return {};
}

}  // namespace deployrec
