// A session over toy engines on host memory.
#pragma once

#include <memory>
#include <vector>

#include "toy.h"
#include "session.h"

namespace deployrec::test {

// The session, and how often each engine has run.
struct World {
  std::shared_ptr<ToyDevice> device = std::make_shared<ToyDevice>();
  std::unique_ptr<Session> session;
  int64_t runs[kGraphs] = {};

  explicit World(int64_t max_users, const ToyBundle& bundle = {}, StateStorage storage = StateStorage::kFloat32,
                 const std::vector<Graph>& graphs = {Graph::kStep, Graph::kAdvance, Graph::kEncode, Graph::kScore},
                 Options options = callers_exclude()) {
    std::vector<std::unique_ptr<Runner>> engines;
    for (const Graph graph : graphs) {
      const bool is_encode = graph == Graph::kEncode;
      auto engine = std::make_unique<ToyRunner>(graph, is_encode ? 4 : 6, bundle.has_state ? 5 : 8, bundle);
      engine->runs = &runs[static_cast<int>(graph)];
      engines.push_back(std::move(engine));
    }
    options.max_users = max_users;
    options.storage = storage;
    CHECK(Session::create(device, std::move(engines), options, &session).ok());
  }
  // Lists leave out what calls name alone.
  static Options callers_exclude() {
    Options options;
    options.exclude_seen = false;
    return options;
  }
  int64_t ran(Graph graph) const { return runs[static_cast<int>(graph)]; }
  SlotTable& slots() const { return session->arena().slots(); }
  int64_t events_of(int64_t user) const { return slots().owner(slots().find(user)).events; }
};

}  // namespace deployrec::test
