// The engines that Options name, on their device: a set for each lane.
#pragma once

#include <memory>
#include <vector>

#include "deployrec/options.h"
#include "device.h"
#include "runner.h"

namespace deployrec {

struct Engines {
  std::shared_ptr<Device> device;
  std::vector<std::unique_ptr<Runner>> runners;
  bool exclude_seen = true;  // of lists, as the bundle says, where Options do not
};

// Graphs that Options leave on.
std::vector<Graph> wanted_graphs(const Options& options);

// kWrongEngine where this build leaves the kind of engine out.
Status open_engines(const Options& options, std::vector<Engines>* lanes);

// Each in its own file, which a build may lack.
Status open_onnxruntime_engines(const Options& options, std::vector<Engines>* lanes);
Status open_tensorrt_engines(const Options& options, std::vector<Engines>* lanes);

}  // namespace deployrec
