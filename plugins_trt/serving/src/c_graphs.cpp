// deployrec.h's graphs by themselves, on whatever engines.
#include <algorithm>
#include <array>
#include <memory>

#include "c_error.h"
#include "c_options.h"
#include "deployrec.h"
#include "engines.h"

using deployrec::Graph;
using deployrec::Status;
using deployrec::StatusCode;

struct deployrec_graphs {
  std::array<std::unique_ptr<deployrec::Runner>, deployrec::kGraphs> runners;
};

namespace {

deployrec::Runner* find(const deployrec_graphs& graphs, const std::string& name) {
  for (int i = 0; i < deployrec::kGraphs; ++i) {
    if (name == deployrec::text_of(static_cast<Graph>(i))) return graphs.runners[static_cast<size_t>(i)].get();
  }
  return nullptr;
}

}  // namespace

int deployrec_graphs_open(const deployrec_options* options, deployrec_graphs** graphs) {
  return deployrec::answered([&]() -> Status {
    if (!options->options.plans.empty()) {
      return {StatusCode::kInvalidArgument,
              "expected a bundle, whose graphs run on host memory; got plans; leave the option plans out"};
    }
    std::vector<deployrec::Engines> lanes;
    Status status = deployrec::open_engines(options->options, &lanes);
    if (!status.ok()) return status;
    auto made = std::make_unique<deployrec_graphs>();
    for (std::unique_ptr<deployrec::Runner>& runner : lanes.front().runners) {
      made->runners[static_cast<size_t>(runner->shape().name.graph)] = std::move(runner);
    }
    *graphs = made.release();
    return status;
  });
}

int deployrec_graphs_run(deployrec_graphs* graphs, const deployrec_run* run) {
  return deployrec::answered([&]() -> Status {
    deployrec::Runner* runner = find(*graphs, run->graph);
    if (runner == nullptr) {
      return {StatusCode::kMissingPlan, std::string("expected one of the bundle's graphs; got '") + run->graph +
                                            "'; name step, advance, encode or score"};
    }
    const size_t states = runner->shape().states.size();
    deployrec::EngineMemory memory{};
    memory.items = run->items;
    memory.lengths = run->lengths;
    memory.exclude = run->exclude;
    memory.topk_items = run->topk_items;
    memory.topk_scores = run->topk_scores;
    memory.user = run->user;
    if (states > 0) {
      memory.past.assign(run->past, run->past + states);
      memory.present.assign(run->present, run->present + states);
    }
    return runner->run(memory, {run->batch, run->time, run->k, run->excluded});
  });
}

void deployrec_graphs_free(deployrec_graphs* graphs) { delete graphs; }
