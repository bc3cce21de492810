// A bundle's folder: its manifest, and its files, each compared with the digest that the manifest gives it.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "deployrec/status.h"
#include "plan_name.h"

namespace deployrec {

class Bundle {
 public:
  struct StateShape {
    std::string name;
    std::vector<int64_t> dims;  // of one user
  };

  // Reads manifest.json; refuses another schema and a manifest that was edited.
  static Status open(const std::string& folder, Bundle* bundle);

  const std::string& folder() const { return folder_; }
  bool has(Graph graph) const { return graphs_.count(text_of(graph)) != 0; }
  bool has(const std::string& file) const { return files_.count(file) != 0; }
  // What a plan of the graph would be called; lists may be as long as the catalogue.
  PlanName name(Graph graph) const;
  int64_t dim() const { return dim_; }
  bool exclude_seen() const { return exclude_seen_; }  // of lists where the options do not say
  int64_t encode_chunk() const { return encode_chunk_; }
  const std::vector<StateShape>& states() const { return states_; }  // in the order of users' records

  // A graph's file, or the item table's; kFile where its bytes are not those that export wrote.
  Status read_graph(Graph graph, std::string* bytes) const { return read(graphs_.at(text_of(graph)), bytes); }
  Status read(const std::string& file, std::string* bytes) const;

 private:
  struct Digest {
    std::string sha256;
    uint64_t bytes;
  };
  Status parse(const std::string& text);

  std::string folder_;
  PlanName name_;
  int64_t dim_ = 0;
  int64_t encode_chunk_ = 0;
  bool exclude_seen_ = true;
  std::vector<StateShape> states_;
  std::map<std::string, std::string> graphs_;  // file by graph
  std::map<std::string, Digest> files_;
};

}  // namespace deployrec
