#if defined(DEPLOYREC_WITH_ONNXRUNTIME)  // and so with what reads a manifest
#include "bundle.h"
#endif
#include "cuda_device.h"
#include "engines.h"
#include "tensorrt_runner.h"

namespace deployrec {

Status open_tensorrt_engines(const Options& options, std::vector<Engines>* lanes) {
  std::vector<std::string> state_order;
#if defined(DEPLOYREC_WITH_ONNXRUNTIME)
  if (!options.bundle.empty()) {
    Bundle bundle;
    Status status = Bundle::open(options.bundle, &bundle);
    if (!status.ok()) return status;
    for (const Bundle::StateShape& state : bundle.states()) state_order.push_back(state.name);
    for (Engines& lane : *lanes) lane.exclude_seen = bundle.exclude_seen();
  }
#endif
  void* stream = options.stream;
  for (Engines& lane : *lanes) {
    std::shared_ptr<CudaDevice> device;
    Status status = CudaDevice::create(options.device, stream, options.log, &device);
    for (const Graph graph : wanted_graphs(options)) {
      if (!status.ok()) return status;
      lane.runners.emplace_back();
      status = TensorRtRunner::load(options, graph, state_order, device, &lane.runners.back());
    }
    if (!status.ok()) return status;
    lane.device = std::move(device);
    stream = nullptr;  // the others' are their own
  }
  return {};
}

}  // namespace deployrec
