#include "graph_file.h"

#include <cstdint>
#include <string_view>

namespace deployrec {
namespace {

// Field numbers of onnx.proto.
constexpr uint64_t kModelGraph = 7, kGraphInitializer = 5, kTensorName = 8, kTensorDataLocation = 14;
constexpr uint64_t kExternal = 1;

struct Field {
  uint64_t number = 0;
  uint64_t value = 0;       // of a varint
  std::string_view bytes;  // of a message or text
};

// The fields of one message, one after another.
class Message {
 public:
  explicit Message(std::string_view bytes) : left_(bytes) {}
  bool broken() const { return broken_; }

  // False at the end, and where the bytes are no message.
  bool next(Field* field) {
    if (left_.empty() || broken_) return false;
    const uint64_t tag = varint();
    *field = {tag >> 3, 0, {}};
    switch (tag & 7) {
      case 0: field->value = varint(); break;
      case 1: take(8); break;
      case 2: field->bytes = take(varint()); break;
      case 5: take(4); break;
      default: broken_ = true;
    }
    return !broken_;
  }

 private:
  uint64_t varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const std::string_view byte = take(1);
      if (byte.empty()) return 0;
      value |= static_cast<uint64_t>(byte[0] & 0x7f) << shift;
      if ((byte[0] & 0x80) == 0) return value;
    }
    broken_ = true;
    return 0;
  }
  std::string_view take(uint64_t count) {
    if (count > left_.size()) {
      broken_ = true;
      return {};
    }
    const std::string_view taken = left_.substr(0, count);
    left_.remove_prefix(count);
    return taken;
  }

  std::string_view left_;
  bool broken_ = false;
};

bool read_initializer(std::string_view bytes, std::vector<std::string>* names) {
  std::string name;
  bool is_external = false;
  Message tensor(bytes);
  for (Field field; tensor.next(&field);) {
    if (field.number == kTensorName) name = field.bytes;
    if (field.number == kTensorDataLocation) is_external = field.value == kExternal;
  }
  if (is_external) names->push_back(name);
  return !tensor.broken();
}

bool read_graph(std::string_view bytes, std::vector<std::string>* names) {
  Message graph(bytes);
  for (Field field; graph.next(&field);) {
    if (field.number == kGraphInitializer && !read_initializer(field.bytes, names)) return false;
  }
  return !graph.broken();
}

}  // namespace

bool external_initializers(const std::string& bytes, std::vector<std::string>* names) {
  names->clear();
  Message model(bytes);
  for (Field field; model.next(&field);) {
    if (field.number == kModelGraph && !read_graph(field.bytes, names)) return false;
  }
  return !model.broken();
}

}  // namespace deployrec
