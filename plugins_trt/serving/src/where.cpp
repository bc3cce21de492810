#include "where.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <utility>

namespace deployrec {
namespace {

constexpr size_t kMostCharacters = 10000;
constexpr int kDeepest = 50;
constexpr const char* kSpaces = " \t\n\r\f\v";

bool is_digit(char character) { return character >= '0' && character <= '9'; }

bool begins_name(char character) {
  const auto byte = static_cast<unsigned char>(character);
  return byte == '_' || byte >= 0x80 || (byte | 0x20U) - 'a' < 26U;
}

bool is_word(char character) { return begins_name(character) || is_digit(character); }

// The end of the number that begins at `at`; `at` where none does.
size_t number_end(const std::string& text, size_t at) {
  const auto digits = [&](size_t from) {
    while (from < text.size() && is_digit(text[from])) ++from;
    return from;
  };
  size_t begin = at + (at < text.size() && (text[at] == '+' || text[at] == '-') ? 1 : 0);
  size_t end = digits(begin);
  const bool has_whole = end > begin;
  if (end < text.size() && text[end] == '.') {
    const size_t fraction = digits(end + 1);
    if (has_whole || fraction > end + 1) end = fraction;
  }
  if (end == begin) return at;
  if (end < text.size() && (text[end] | 0x20) == 'e') {
    begin = end + 1;
    begin += begin < text.size() && (text[begin] == '+' || text[begin] == '-') ? 1 : 0;
    if (const size_t exponent = digits(begin); exponent > begin) end = exponent;
  }
  return end;
}

// Whatever the program's locale.
double number_of(const std::string& text) {
  double number = 0;
  const char* begin = text.c_str() + (text[0] == '+' ? 1 : 0);
  const auto read = std::from_chars(begin, text.c_str() + text.size(), number);
  if (read.ec != std::errc::result_out_of_range) return number;
  const bool is_tiny = text.find("e-") != std::string::npos || text.find("E-") != std::string::npos;
  return is_tiny ? 0 : text[0] == '-' ? -HUGE_VAL : HUGE_VAL;
}

// A character of U+0080.. that is no letter: spaces, punctuation and signs, as far as titles have them.
bool is_other(unsigned code) {
  return (code < 0xC0 && code != 0xAA && code != 0xB2 && code != 0xB3 && code != 0xB5 && code != 0xB9 && code != 0xBA &&
          !(code >= 0xBC && code <= 0xBE)) ||
         code == 0xD7 || code == 0xF7 || (code >= 0x2000 && code <= 0x206F) || (code >= 0x20A0 && code <= 0x20CF) ||
         (code >= 0x2190 && code <= 0x245F) || (code >= 0x2500 && code <= 0x2BFF && !(code >= 0x2776 && code <= 0x2793)) ||
         (code >= 0x3000 && code <= 0x3004) || (code >= 0x3008 && code <= 0x3020) || (code >= 0xFF01 && code <= 0xFF0F) ||
         (code >= 0x1F000 && code <= 0x1F0FF) || (code >= 0x1F300 && code <= 0x1FAFF);
}

// The code point of UTF-8 that begins at `at`.
unsigned code_point(const std::string& text, size_t at) {
  const auto first = static_cast<unsigned char>(text[at]);
  const int more = first < 0x80 ? 0 : first < 0xE0 ? 1 : first < 0xF0 ? 2 : 3;
  unsigned code = more == 0 ? first : first & (0x3FU >> more);
  for (int i = 1; i <= more && at + static_cast<size_t>(i) < text.size(); ++i) {
    code = code << 6 | (static_cast<unsigned char>(text[at + static_cast<size_t>(i)]) & 0x3FU);
  }
  return code;
}

bool is_word_at(const std::string& text, size_t at) {
  const unsigned code = code_point(text, at);
  return code < 0x80 ? is_word(text[at]) : !is_other(code);
}

bool continues(char character) { return (static_cast<unsigned char>(character) & 0xC0U) == 0x80; }

struct Refused {
  std::string expected;
};

// Recursive descent over `condition`, which evaluates as it goes.
class Reader {
 public:
  Reader(const std::string& text, size_t rows, const std::function<Status(const Comparison&, Mask*)>& test)
      : text_(text), rows_(rows), test_(test) {}

  Mask whole() {
    next();
    Mask mask = either();
    if (kind_ != Kind::kEnd) throw Refused{"'and', 'or' or the end"};
    return mask;
  }
  size_t start() const { return start_; }
  const Status& status() const { return status_; }

 private:
  enum class Kind { kNumber, kText, kColumn, kWord, kSign, kEnd };

  Mask either() {
    Mask mask = both();
    while (took(Kind::kWord, "or")) join(both(), &mask, [](char a, char b) { return a | b; });
    return mask;
  }
  Mask both() {
    Mask mask = term();
    while (took(Kind::kWord, "and")) join(term(), &mask, [](char a, char b) { return a & b; });
    return mask;
  }
  template <class Operator>
  static void join(const Mask& other, Mask* mask, Operator with) {
    for (size_t i = 0; i < mask->size(); ++i) (*mask)[i] = static_cast<char>(with((*mask)[i], other[i]));
  }

  Mask term() {
    if (++depth_ > kDeepest) {
      throw Refused{"at most " + std::to_string(kDeepest) + " parentheses and nots within each other"};
    }
    Mask mask;
    if (took(Kind::kWord, "not")) {
      mask = inverted(term());
    } else if (took(Kind::kSign, "(")) {
      mask = either();
      need(")");
    } else {
      mask = comparison();
    }
    --depth_;
    return mask;
  }
  static Mask inverted(Mask mask) {
    for (char& fits : mask) fits = fits == 0;
    return mask;
  }

  Mask comparison() {
    if (kind_ != Kind::kColumn) throw Refused{"a column"};
    Comparison made;
    made.column = take();
    const bool is_order = kind_ == Kind::kSign && token_ != "(" && token_ != ")" && token_ != ",";
    const bool is_negated = !is_order && took(Kind::kWord, "not");
    if (is_order) {
      made.order = take();
      made.values.push_back(value());
    } else if (took(Kind::kWord, "in")) {
      made.order = "in";
      need("(");
      do made.values.push_back(value());
      while (took(Kind::kSign, ","));
      need(")");
    } else if (took(Kind::kWord, "has")) {
      made.order = "has";
      if (kind_ != Kind::kText) throw Refused{"a text in quotes"};
      made.values.push_back(value());
    } else {
      throw Refused{is_negated ? "'in' or 'has'" : "==, !=, <, <=, >, >=, 'in' or 'has'"};
    }
    Mask mask(rows_);
    if (status_.ok()) status_ = test_(made, &mask);
    return is_negated ? inverted(std::move(mask)) : mask;
  }
  Comparison::Value value() {
    if (kind_ != Kind::kNumber && kind_ != Kind::kText) throw Refused{"a number, or a text in quotes"};
    Comparison::Value made;
    made.is_number = kind_ == Kind::kNumber;
    made.text = take();
    if (made.is_number) made.number = number_of(made.text);
    return made;
  }

  bool took(Kind kind, const char* token) {
    if (kind_ != kind || token_ != token) return false;
    next();
    return true;
  }
  void need(const char* token) {
    if (!took(Kind::kSign, token)) throw Refused{std::string("'") + token + "'"};
  }
  std::string take() {
    std::string here = std::move(token_);
    next();
    return here;
  }

  void next() {
    at_ = std::min(text_.find_first_not_of(kSpaces, at_), text_.size());
    start_ = at_;
    kind_ = Kind::kEnd;
    token_.clear();
    if (at_ == text_.size()) return;
    const char first = text_[at_];
    if (size_t end = number_end(text_, at_);
        end > at_ && (end == text_.size() || !(is_word(text_[end]) || text_[end] == '.'))) {
      kind_ = Kind::kNumber;
      token_ = text_.substr(at_, end - at_);
      at_ = end;
    } else if (first == '\'' || first == '"') {
      quoted(first);
    } else if (const size_t close = text_.find('`', at_ + 1);
               first == '`' && close != std::string::npos && close > at_ + 1) {
      kind_ = Kind::kColumn;
      token_ = text_.substr(at_ + 1, close - at_ - 1);
      at_ = close + 1;
    } else if (begins_name(first)) {
      while (at_ < text_.size() && is_word(text_[at_])) token_ += text_[at_++];
      std::string lower = token_;
      for (char& character : lower) character = static_cast<char>(character >= 'A' && character <= 'Z' ? character | 0x20 : character);
      const bool is_known = lower == "and" || lower == "or" || lower == "not" || lower == "in" || lower == "has";
      kind_ = is_known ? Kind::kWord : Kind::kColumn;
      if (is_known) token_ = lower;
    } else {
      sign();
    }
  }
  void quoted(char quote) {
    kind_ = Kind::kText;
    while (++at_ < text_.size()) {
      if (text_[at_] == quote && (at_ + 1 == text_.size() || text_[at_ + 1] != quote)) {
        ++at_;
        return;
      }
      token_ += text_[at_];
      if (text_[at_] == quote) ++at_;
    }
    unreadable();
  }
  void sign() {
    kind_ = Kind::kSign;
    for (const char* known : {"==", "!=", "<=", ">=", "<", ">", "(", ")", ","}) {
      if (text_.compare(at_, std::string(known).size(), known) != 0) continue;
      token_ = known;
      at_ += token_.size();
      return;
    }
    unreadable();
  }
  [[noreturn]] static void unreadable() {
    throw Refused{"columns, numbers, texts in quotes and ==, !=, <, <=, >, >=, in, has, and, or, not"};
  }

  const std::string& text_;
  size_t rows_;
  const std::function<Status(const Comparison&, Mask*)>& test_;
  size_t at_ = 0, start_ = 0;
  Kind kind_ = Kind::kEnd;
  std::string token_;
  int depth_ = 0;
  Status status_;
};

Status refused(const std::string& condition, const std::string& expected, size_t at) {
  std::string rest = condition.substr(at);
  rest = rest.empty() ? "nothing more" : "'" + rest.substr(0, 30) + "'";
  return {StatusCode::kInvalidArgument, "expected " + expected + " at byte " + std::to_string(at + 1) +
                                            " of the filter '" + condition.substr(0, 60) + "'; got " + rest +
                                            "; write such as \"genre == 'Comedy' and year >= 1990\""};
}

}  // namespace

Status fitting(const std::string& condition, size_t rows, const std::function<Status(const Comparison&, Mask*)>& test,
               Mask* mask) {
  const auto characters = condition.size() - static_cast<size_t>(std::count_if(condition.begin(), condition.end(), continues));
  if (characters > kMostCharacters) {
    return {StatusCode::kInvalidArgument, "expected a filter of at most " + std::to_string(kMostCharacters) +
                                              " characters; got " + std::to_string(characters) + "; name rows instead"};
  }
  Reader reader(condition, rows, test);
  try {
    *mask = reader.whole();
  } catch (const Refused& refusal) {
    return refused(condition, refusal.expected, reader.start());
  }
  return reader.status();
}

bool parse_number(const std::string& text, double* number) {
  const size_t begin = std::min(text.find_first_not_of(kSpaces), text.size());
  const size_t end = number_end(text, begin);
  if (end == begin || text.find_first_not_of(kSpaces, end) != std::string::npos) return false;
  *number = number_of(text.substr(begin, end - begin));
  return true;
}

bool has_word(const std::string& text, const std::string& word) {
  for (size_t at = text.find(word); at != std::string::npos; at = text.find(word, at + 1)) {
    if (at < text.size() && continues(text[at])) continue;
    size_t before = at;
    while (before > 0 && continues(text[before - 1])) --before;
    const bool is_free = before == 0 || !is_word_at(text, before - 1);
    const size_t after = at + word.size();
    if (is_free && (after >= text.size() || !is_word_at(text, after))) return true;
  }
  return false;
}

}  // namespace deployrec
