#include "state_file.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <vector>

namespace deployrec {
namespace {

constexpr char kMagic[8] = {'D', 'R', 'S', 'T', 'A', 'T', 'E', '4'};
constexpr uint32_t kMostText = 1U << 30;
constexpr size_t kBuffer = size_t{1} << 20;

// CRC-32 of zlib, eight tables of a byte each, so that eight bytes are one step.
class Crc {
 public:
  Crc() {
    for (uint32_t byte = 0; byte < 256; ++byte) {
      uint32_t value = byte;
      for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ ((value & 1U) != 0 ? 0xedb88320U : 0U);
      table_[0][byte] = value;
    }
    for (size_t n = 1; n < 8; ++n) {
      for (uint32_t byte = 0; byte < 256; ++byte) {
        table_[n][byte] = (table_[n - 1][byte] >> 8) ^ table_[0][table_[n - 1][byte] & 0xffU];
      }
    }
  }
  uint32_t add(uint32_t checksum, const void* data, size_t count) const {
    const auto* at = static_cast<const unsigned char*>(data);
    uint32_t crc = ~checksum;
    for (; count >= 8; count -= 8, at += 8) {
      uint32_t low, high;
      std::memcpy(&low, at, 4);
      std::memcpy(&high, at + 4, 4);
      low ^= crc;
      crc = table_[7][low & 0xff] ^ table_[6][(low >> 8) & 0xff] ^ table_[5][(low >> 16) & 0xff] ^
            table_[4][low >> 24] ^ table_[3][high & 0xff] ^ table_[2][(high >> 8) & 0xff] ^
            table_[1][(high >> 16) & 0xff] ^ table_[0][high >> 24];
    }
    for (; count > 0; --count, ++at) crc = (crc >> 8) ^ table_[0][(crc ^ *at) & 0xff];
    return ~crc;
  }

 private:
  std::array<std::array<uint32_t, 256>, 8> table_;
};

const Crc& crc() {
  static const Crc made;
  return made;
}

Status damaged(const std::string& path, const char* what) {
  return {StatusCode::kFile,
          "expected a file of saved states in " + path + "; got " + what + "; save the states again"};
}

std::string shortened(const std::string& id) { return id.size() > 12 ? id.substr(0, 12) + "..." : id; }

// Reads the file from its beginning and adds up its checksum; `good` until something is missing.
class Reader {
 public:
  explicit Reader(const std::string& path) : buffer_(kBuffer) {
    file_.rdbuf()->pubsetbuf(buffer_.data(), static_cast<std::streamsize>(buffer_.size()));
    file_.open(path, std::ios::binary | std::ios::ate);
    left_ = file_ ? static_cast<uint64_t>(file_.tellg()) : 0;
    file_.seekg(0);
  }
  bool good() const { return static_cast<bool>(file_); }
  uint64_t left() const { return left_; }
  uint32_t checksum() const { return checksum_; }
  void bytes(void* to, size_t count) {
    if (count > left_) {
      file_.setstate(std::ios::failbit);
      return;
    }
    file_.read(static_cast<char*>(to), static_cast<std::streamsize>(count));
    checksum_ = crc().add(checksum_, to, count);
    left_ -= count;
  }
  template <class Number>
  Number number() {
    Number value = 0;
    bytes(&value, sizeof(value));
    return value;
  }
  std::string text() {
    const auto size = number<uint32_t>();
    if (size > std::min<uint64_t>(kMostText, left_)) {
      file_.setstate(std::ios::failbit);
      return {};
    }
    std::string value(size, '\0');
    bytes(value.data(), size);
    return value;
  }

 private:
  std::vector<char> buffer_;
  std::ifstream file_;
  uint64_t left_ = 0;
  uint32_t checksum_ = 0;
};

}  // namespace

StateFileWriter::StateFileWriter(const std::string& path, const std::string& state_id, const std::string& meta,
                                 uint64_t users)
    : path_(path), temporary_(path + ".tmp"), file_(temporary_, std::ios::binary | std::ios::trunc) {
  bytes(kMagic, sizeof(kMagic));
  bytes(&users, sizeof(users));
  text(state_id);
  text(meta);
}

StateFileWriter::~StateFileWriter() {
  if (!is_finished_) std::remove(temporary_.c_str());
}

void StateFileWriter::add(const std::string& user, const std::string& record) {
  text(user);
  text(record);
}

Status StateFileWriter::finish() {
  const uint32_t checksum = checksum_;
  bytes(&checksum, sizeof(checksum));
  file_.close();
  is_finished_ = !file_.fail() && std::rename(temporary_.c_str(), path_.c_str()) == 0;
  if (is_finished_) return {};
  return {StatusCode::kFile, "expected to write " + path_ + "; got " + std::strerror(errno) + "; check the folder"};
}

void StateFileWriter::bytes(const void* data, size_t count) {
  file_.write(static_cast<const char*>(data), static_cast<std::streamsize>(count));
  checksum_ = crc().add(checksum_, data, count);
}

void StateFileWriter::text(const std::string& value) {
  const auto size = static_cast<uint32_t>(value.size());
  bytes(&size, sizeof(size));
  bytes(value.data(), value.size());
}

Status read_states(const std::string& path, const std::string& state_id, std::string* meta,
                   const std::function<Status(const std::string&, const std::string&)>& take) {
  Reader reader(path);
  if (!reader.good()) {
    return {StatusCode::kFile, "expected saved states in " + path + "; got no readable file; check the path"};
  }
  char magic[sizeof(kMagic)] = {};
  reader.bytes(magic, sizeof(magic));
  if (!reader.good() || std::memcmp(magic, kMagic, sizeof(kMagic) - 1) != 0) return damaged(path, "something else");
  if (magic[7] != kMagic[7]) return damaged(path, "a format of another deployrec");
  const auto users = reader.number<uint64_t>();
  const std::string saved = reader.text();
  *meta = reader.text();
  if (!reader.good()) return damaged(path, "one that is cut short");
  if (saved != state_id) {
    return {StatusCode::kStaleState, "expected states of id " + shortened(state_id) + "; got " + shortened(saved) +
                                         "; encode the histories again"};
  }
  for (uint64_t user = 0; user < users; ++user) {
    const std::string name = reader.text(), record = reader.text();
    if (!reader.good()) return damaged(path, "one that is cut short");
    Status status = take(name, record);
    if (!status.ok()) return status;
  }
  const uint32_t checksum = reader.checksum();
  const auto stored = reader.number<uint32_t>();
  if (!reader.good() || reader.left() != 0) return damaged(path, "one that is cut short or goes on");
  return stored == checksum ? Status{} : damaged(path, "one whose checksum is wrong");
}

bool parse_user(const std::string& text, int64_t* user) {
  const size_t digits = text.rfind('-', 0) == 0 ? 1 : 0;
  if (text.size() == digits || text.find_first_not_of("0123456789", digits) != std::string::npos) return false;
  errno = 0;
  *user = std::strtoll(text.c_str(), nullptr, 10);
  return errno == 0 && std::to_string(*user) == text;
}

}  // namespace deployrec
