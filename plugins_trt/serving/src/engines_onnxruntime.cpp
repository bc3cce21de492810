#include "engines.h"
#include "host_device.h"
#include "onnxruntime_runner.h"

namespace deployrec {

Status open_onnxruntime_engines(const Options& options, std::vector<Engines>* lanes) {
  Bundle bundle;
  std::shared_ptr<OnnxRuntime> runtime;
  std::shared_ptr<ItemTable> table;
  Status status = Bundle::open(options.bundle, &bundle);
  if (status.ok()) status = OnnxRuntime::open(options.onnxruntime_library, &runtime);
  if (status.ok()) status = OnnxRuntimeRunner::read_table(runtime, bundle, &table);
  if (!status.ok()) return status;
  for (Engines& lane : *lanes) {
    lane.device = std::make_shared<HostDevice>();
    lane.exclude_seen = bundle.exclude_seen();
  }
  for (const Graph graph : wanted_graphs(options)) {
    if (!bundle.has(graph)) continue;  // of a model without a state
    std::unique_ptr<OnnxRuntimeRunner> runner;
    status = OnnxRuntimeRunner::load(runtime, bundle, graph, options, table, &runner);
    if (!status.ok()) return status;
    for (Engines& lane : *lanes) lane.runners.push_back(runner->share());
  }
  return {};
}

}  // namespace deployrec
