#include "c_options.h"

#include <cerrno>
#include <cstdlib>
#include <functional>
#include <limits>
#include <map>
#include <new>
#include <sstream>

#include "c_error.h"
#include "deployrec.h"

namespace deployrec {
namespace {

using Setter = std::function<bool(Options*, const std::string&)>;

bool read(const std::string& text, int64_t* number) {
  char* end = nullptr;
  errno = 0;
  *number = std::strtoll(text.c_str(), &end, 10);
  return errno == 0 && !text.empty() && *end == '\0';
}

Setter text(std::string Options::*field) {
  return [=](Options* options, const std::string& value) {
    options->*field = value;
    return true;
  };
}

template <class Number>
Setter whole(Number Options::*field) {
  return [=](Options* options, const std::string& value) {
    int64_t number = 0;
    if (!read(value, &number) || number < std::numeric_limits<Number>::min() ||
        number > std::numeric_limits<Number>::max()) {
      return false;
    }
    options->*field = static_cast<Number>(number);
    return true;
  };
}

template <class Value>
Setter one_of(Value Options::*field, const std::map<std::string, Value>& values) {
  return [=](Options* options, const std::string& value) {
    const auto found = values.find(value);
    if (found != values.end()) options->*field = found->second;
    return found != values.end();
  };
}

Setter flag(bool Options::*field) { return one_of<bool>(field, {{"0", false}, {"1", true}}); }

bool set_seconds(Options* options, const std::string& value) {
  char* end = nullptr;
  const double seconds = std::strtod(value.c_str(), &end);
  const bool is_number = !value.empty() && *end == '\0' && seconds >= 0;
  if (is_number) options->time_to_live = seconds;
  return is_number;
}

bool set_batches(Options* options, const std::string& value) {
  std::vector<int64_t> batches;
  std::istringstream words(value);
  for (std::string word; std::getline(words, word, ',');) {
    batches.emplace_back();
    if (!read(word, &batches.back())) return false;
  }
  options->batches = batches;
  return true;
}

const std::map<std::string, Setter>& setters() {
  static const std::map<std::string, Setter> made{
      {"bundle", text(&Options::bundle)},
      {"plans", text(&Options::plans)},
      {"step", flag(&Options::step)},
      {"advance", flag(&Options::advance)},
      {"encode", flag(&Options::encode)},
      {"score", flag(&Options::score)},
      {"max_users", whole(&Options::max_users)},
      {"eviction", one_of<Eviction>(&Options::eviction, {{"refuse", Eviction::kRefuse},
                                                         {"least_recently_used", Eviction::kLeastRecentlyUsed}})},
      {"time_to_live", set_seconds},
      {"storage", one_of<StateStorage>(&Options::storage,
                                       {{"float32", StateStorage::kFloat32}, {"float16", StateStorage::kFloat16}})},
      {"exclude_seen", one_of<std::optional<bool>>(&Options::exclude_seen, {{"0", false}, {"1", true}})},
      {"max_exclude", whole(&Options::max_exclude)},
      {"lanes", whole(&Options::lanes)},
      {"provider", one_of<Provider>(&Options::provider, {{"cpu", Provider::kCpu},
                                                         {"cuda", Provider::kCuda},
                                                         {"tensorrt", Provider::kTensorRt}})},
      {"threads", whole(&Options::threads)},
      {"max_batch", whole(&Options::max_batch)},
      {"onnxruntime_library", text(&Options::onnxruntime_library)},
      {"plugin_library", text(&Options::plugin_library)},
      {"allow_host_code", flag(&Options::allow_host_code)},
      {"batches", set_batches},
      {"device", whole(&Options::device)},
  };
  return made;
}

}  // namespace

Status set_option(Options* options, const std::string& name, const std::string& value) {
  const auto found = setters().find(name);
  if (found == setters().end()) {
    std::string known;
    for (const auto& setter : setters()) known += (known.empty() ? "" : ", ") + setter.first;
    return {StatusCode::kInvalidArgument,
            "expected one of the options " + known + "; got '" + name + "'; leave it out"};
  }
  if (found->second(options, value)) return {};
  return {StatusCode::kInvalidArgument,
          "expected a value that the option " + name + " takes; got '" + value + "'; see deployrec.h"};
}

}  // namespace deployrec

deployrec_options* deployrec_options_new(void) { return new (std::nothrow) deployrec_options; }

int deployrec_options_set(deployrec_options* options, const char* name, const char* value) {
  return deployrec::answered([&] { return deployrec::set_option(&options->options, name, value); });
}

void deployrec_options_free(deployrec_options* options) { delete options; }
