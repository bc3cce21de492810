#include "bundle.h"

#include <openssl/evp.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "files.h"

namespace deployrec {
namespace {

using Json = nlohmann::json;

constexpr int64_t kSchema = 2;

Status refused(const std::string& expected, const std::string& got) {
  return {StatusCode::kFile, "expected " + expected + "; got " + got + "; copy or export the bundle again"};
}

std::string sha256(const std::string& first, const std::string& second = {}) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  const std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)> context(EVP_MD_CTX_new(), EVP_MD_CTX_free);
  if (context == nullptr || EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr) != 1 ||
      EVP_DigestUpdate(context.get(), first.data(), first.size()) != 1 ||
      EVP_DigestUpdate(context.get(), second.data(), second.size()) != 1 ||
      EVP_DigestFinal_ex(context.get(), digest, &size) != 1) {
    return {};
  }
  constexpr const char* kDigits = "0123456789abcdef";
  std::string text;
  for (unsigned int i = 0; i < size; ++i) {
    text += kDigits[digest[i] >> 4];
    text += kDigits[digest[i] & 15];
  }
  return text;
}

// The manifest is one text for one content, and its digest covers all but the digest's own line.
std::string manifest_digest(const std::string& text, const std::string& digest) {
  const std::string line = "  \"digest\": \"" + digest + "\",\n";
  const size_t at = text.find("\n" + line);
  if (at == std::string::npos) return {};
  return sha256(text.substr(0, at + 1), text.substr(at + 1 + line.size()));
}

}  // namespace

Status Bundle::open(const std::string& folder, Bundle* bundle) {
  const std::string path = folder + "/manifest.json";
  std::string text;
  if (!read_file(path, &text)) {
    return {StatusCode::kFile, "expected a bundle's manifest in " + path +
                                   "; got no readable file; name a folder that deployrec export wrote"};
  }
  Bundle read;
  read.folder_ = folder;
  Status status;
  try {
    status = read.parse(text);
  } catch (const Json::exception& error) {
    status = refused("a bundle's manifest in " + path, error.what());
  }
  if (status.ok()) *bundle = std::move(read);
  return status;
}

Status Bundle::parse(const std::string& text) {
  const std::string path = folder_ + "/manifest.json";
  const Json document = Json::parse(text);
  const auto schema = document.at("schema_version").get<int64_t>();
  if (schema != kSchema) {
    return {StatusCode::kFile, "expected a bundle of schema " + std::to_string(kSchema) + "; got schema " +
                                   std::to_string(schema) + "; export it with this version's deployrec"};
  }
  const auto digest = document.at("digest").get<std::string>();
  if (digest.empty() || manifest_digest(text, digest) != digest) {
    return refused(path + " as export wrote it", "edited content");
  }
  if (document.contains("time")) {
    return {StatusCode::kFile, "expected a bundle that is not time-aware; got " + path +
                                   ", whose scores want the seconds since the last event; serve it with Python"};
  }
  name_.bundle_id = document.at("bundle_id").get<std::string>();
  name_.state_id = document.at("state_id").get<std::string>();
  name_.num_items = document.at("model").at("num_items").get<int64_t>();
  dim_ = document.at("model").at("dim").get<int64_t>();
  exclude_seen_ = document.value("exclude_seen", true);
  encode_chunk_ = document.at("encode_chunk").get<int64_t>();
  for (const auto& [graph, entry] : document.at("graphs").items()) graphs_[graph] = entry.at("file").get<std::string>();
  for (const Json& tensor : document.at("state").at("tensors")) {
    states_.push_back({tensor.at("name").get<std::string>(), tensor.at("shape").get<std::vector<int64_t>>()});
  }
  const Json& exact = document.at("state").at("exact_up_to");
  name_.window = !exact.is_null() ? exact.get<int64_t>() : has(Graph::kStep) ? 0 : encode_chunk_;
  for (const auto& [file, entry] : document.at("files").items()) {
    files_[file] = {entry.at("sha256").get<std::string>(), entry.at("bytes").get<uint64_t>()};
  }
  return {};
}

PlanName Bundle::name(Graph graph) const {
  PlanName name = name_;
  name.graph = graph;
  name.max_k = makes_lists(graph) ? name_.num_items : 0;
  return name;
}

Status Bundle::read(const std::string& file, std::string* bytes) const {
  const std::string path = folder_ + "/" + file;
  const auto known = files_.find(file);
  if (known == files_.end()) return refused("'" + file + "' in " + folder_ + "/manifest.json", "no such entry");
  if (!read_file(path, bytes)) return refused(path, "no readable file");
  if (bytes->size() != known->second.bytes) {
    return refused(path + " with " + std::to_string(known->second.bytes) + " bytes", std::to_string(bytes->size()));
  }
  if (sha256(*bytes) != known->second.sha256) return refused(path + " as export wrote it", "edited bytes");
  return {};
}

}  // namespace deployrec
