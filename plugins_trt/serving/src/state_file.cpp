#include "state_file.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

namespace deployrec {
namespace {

constexpr char kMagic[8] = {'D', 'R', 'S', 'T', 'A', 'T', 'E', '2'};
constexpr uint64_t kByteOrder = 0x0102030405060708ULL;
constexpr uint64_t kMostText = 1 << 16;
constexpr size_t kPieceBytes = size_t{32} << 20;

// Rows that are read or written together.
size_t piece_rows(uint64_t row_bytes) { return std::max<size_t>(1, kPieceBytes / std::max<uint64_t>(1, row_bytes)); }

class Checksum {
 public:
  void add(const void* data, size_t bytes) {
    const auto* byte = static_cast<const unsigned char*>(data);
    for (size_t i = 0; i < bytes; ++i) value_ = (value_ ^ byte[i]) * 0x100000001b3ULL;
  }
  uint64_t value() const { return value_; }

 private:
  uint64_t value_ = 0xcbf29ce484222325ULL;
};

class Writer {
 public:
  explicit Writer(const std::string& path) : file_(path, std::ios::binary | std::ios::trunc) {}
  void bytes(const void* data, size_t count) {
    checksum_.add(data, count);
    file_.write(static_cast<const char*>(data), static_cast<std::streamsize>(count));
  }
  void number(uint64_t value) { bytes(&value, sizeof(value)); }
  void text(const std::string& value) {
    number(value.size());
    bytes(value.data(), value.size());
  }
  bool finish() {
    number(checksum_.value());
    file_.close();
    return !file_.fail();
  }

 private:
  std::ofstream file_;
  Checksum checksum_;
};

Status damaged(const std::string& path, const char* what) {
  return {StatusCode::kFile,
          "expected a file of saved states in " + path + "; got " + what + "; save the states again"};
}

}  // namespace

Status write_states(const std::string& path, const StateFileHeader& header,
                    const std::function<Status(size_t, size_t, unsigned char*)>& read_rows) {
  const std::string temporary = path + ".tmp";
  Writer writer(temporary);
  writer.bytes(kMagic, sizeof(kMagic));
  writer.number(kByteOrder);
  writer.number(header.row_bytes);
  writer.number(header.users.size());
  writer.number(header.recent.size());
  writer.text(header.state_id);
  writer.text(header.layout);
  writer.bytes(header.users.data(), header.users.size() * sizeof(SavedUser));
  writer.bytes(header.recent.data(), header.recent.size() * sizeof(int64_t));
  const size_t piece = piece_rows(header.row_bytes);
  std::vector<unsigned char> rows(std::min(piece, header.users.size()) * header.row_bytes);
  Status status;
  for (size_t first = 0; status.ok() && first < header.users.size(); first += piece) {
    const size_t count = std::min(piece, header.users.size() - first);
    status = read_rows(first, count, rows.data());
    writer.bytes(rows.data(), count * header.row_bytes);
  }
  const bool written = writer.finish();
  if (status.ok() && written && std::rename(temporary.c_str(), path.c_str()) == 0) return {};
  std::remove(temporary.c_str());
  if (!status.ok()) return status;
  return {StatusCode::kFile, "expected to write " + path + "; got " + std::strerror(errno) + "; check the folder"};
}

Status StateFileReader::open(const std::string& path) {
  path_ = path;
  file_.open(path, std::ios::binary);
  if (!file_) return {StatusCode::kFile, "expected saved states in " + path + "; got no readable file; check the path"};
  file_.seekg(0, std::ios::end);
  size_ = static_cast<uint64_t>(file_.tellg());
  file_.seekg(0);
  Status status = read_header();
  if (!status.ok()) return status;

  Checksum checksum;
  file_.seekg(0);
  std::vector<char> piece(static_cast<size_t>(std::min<uint64_t>(size_, kPieceBytes)));
  for (uint64_t left = size_ - sizeof(uint64_t); left > 0;) {
    const auto count = static_cast<size_t>(std::min<uint64_t>(left, piece.size()));
    if (!file_.read(piece.data(), static_cast<std::streamsize>(count)))
      return damaged(path_, "a file that cannot be read");
    checksum.add(piece.data(), count);
    left -= count;
  }
  uint64_t stored = 0;
  file_.read(reinterpret_cast<char*>(&stored), sizeof(stored));
  return stored == checksum.value() ? Status{} : damaged(path_, "one whose checksum is wrong");
}

Status StateFileReader::read_header() {
  const auto number = [&] {
    uint64_t value = 0;
    file_.read(reinterpret_cast<char*>(&value), sizeof(value));
    return value;
  };
  const auto text = [&] {
    std::string value(static_cast<size_t>(std::min(number(), kMostText)), '\0');
    file_.read(value.data(), static_cast<std::streamsize>(value.size()));
    return value;
  };
  char magic[sizeof(kMagic)] = {};
  file_.read(magic, sizeof(magic));
  if (std::memcmp(magic, kMagic, sizeof(kMagic)) != 0) return damaged(path_, "something else");
  if (number() != kByteOrder) return damaged(path_, "one of a machine with another byte order");
  header_.row_bytes = number();
  const uint64_t users = number();
  const uint64_t recent = number();
  header_.state_id = text();
  header_.layout = text();
  // Sizes are checked against the file's before anything is allocated from them.
  const uint64_t left = file_ ? size_ - static_cast<uint64_t>(file_.tellg()) : 0;
  const uint64_t per_user = sizeof(SavedUser) + header_.row_bytes;
  if (!file_ || header_.row_bytes > size_ || users > left / per_user || recent > left / sizeof(int64_t) ||
      left != users * per_user + recent * sizeof(int64_t) + sizeof(uint64_t)) {
    return damaged(path_, "one that is cut short or was written over");
  }
  header_.users.resize(static_cast<size_t>(users));
  file_.read(reinterpret_cast<char*>(header_.users.data()), static_cast<std::streamsize>(users * sizeof(SavedUser)));
  header_.recent.resize(static_cast<size_t>(recent));
  file_.read(reinterpret_cast<char*>(header_.recent.data()), static_cast<std::streamsize>(recent * sizeof(int64_t)));
  rows_at_ = file_.tellg();
  return {};
}

Status StateFileReader::rows(const std::function<Status(size_t, size_t, const unsigned char*)>& take) {
  file_.seekg(rows_at_);
  const size_t piece = piece_rows(header_.row_bytes);
  std::vector<unsigned char> rows(std::min(piece, header_.users.size()) * header_.row_bytes);
  Status status;
  for (size_t first = 0; status.ok() && first < header_.users.size(); first += piece) {
    const size_t count = std::min(piece, header_.users.size() - first);
    file_.read(reinterpret_cast<char*>(rows.data()), static_cast<std::streamsize>(count * header_.row_bytes));
    status = file_ ? take(first, count, rows.data()) : damaged(path_, "a file that cannot be read");
  }
  return status;
}

}  // namespace deployrec
