// Runs a plugin object the way TensorRT does: create, attachToContext, onShapeChange, enqueue.
#include <NvInferRuntime.h>

#include <cstdio>
#include <cstdlib>
#include <initializer_list>
#include <map>
#include <vector>

#include "plugin_library.h"
#include "recurrence_runner.h"

namespace deployrec::test {
namespace {

using nvinfer1::DataType;
using nvinfer1::PluginTensorDesc;

PluginTensorDesc describe(DataType type, std::initializer_list<int64_t> shape) {
  PluginTensorDesc desc{};
  desc.dims.nbDims = static_cast<int32_t>(shape.size());
  int32_t axis = 0;
  for (const int64_t size : shape) desc.dims.d[axis++] = size;
  desc.type = type;
  desc.format = nvinfer1::TensorFormat::kLINEAR;
  return desc;
}

DataType data_type(ElementType type) {
  return type == ElementType::kFloat16    ? DataType::kHALF
         : type == ElementType::kBFloat16 ? DataType::kBF16
                                          : DataType::kFLOAT;
}

class PluginRunner final : public Runner {
 public:
  explicit PluginRunner(const std::string& path) : library_(path) {}

  const char* run(const LinearRecurrence& p, void* workspace) override {
    const DataType element = data_type(p.type);
    const std::vector<PluginTensorDesc> inputs = {describe(element, {p.batch, p.time, p.dim}),
                                                  describe(element, {p.batch, p.time, p.dim}),
                                                  describe(DataType::kFLOAT, {p.batch, p.dim})};
    return enqueue("LinearRecurrence", inputs, p.dim, {p.a, p.b, p.initial_state}, {p.hidden, p.final_state},
                   workspace);
  }

  const char* run(const GruRecurrence& p) override {
    const DataType element = data_type(p.type);
    const std::vector<PluginTensorDesc> inputs = {
        describe(element, {p.batch, p.time, 3 * p.dim}), describe(element, {3 * p.dim, p.dim}),
        describe(DataType::kFLOAT, {p.batch, p.dim}), describe(DataType::kINT64, {p.batch})};
    return enqueue("GRURecurrence", inputs, p.dim, {p.gates, p.recurrent_weight, p.initial_state, p.lengths},
                   {p.hidden, p.final_state}, nullptr);
  }

 private:
  const char* enqueue(const char* name, const std::vector<PluginTensorDesc>& inputs, int64_t dim,
                      const std::vector<const void*>& in, const std::vector<void*>& out, void* workspace) {
    const nvinfer1::Dims& sequence = inputs[0].dims;
    const std::vector<PluginTensorDesc> outputs = {describe(inputs[0].type, {sequence.d[0], sequence.d[1], dim}),
                                                   describe(DataType::kFLOAT, {sequence.d[0], dim})};
    nvinfer1::IPluginV3OneRuntime& plugin = attached(name);
    const auto in_count = static_cast<int32_t>(inputs.size());
    if (plugin.onShapeChange(inputs.data(), in_count, outputs.data(), 2) != 0) return "onShapeChange failed";
    const int32_t status = plugin.enqueue(inputs.data(), outputs.data(), in.data(), out.data(), workspace, nullptr);
    return status == 0 ? nullptr : "enqueue failed";
  }

  nvinfer1::IPluginV3OneRuntime& attached(const std::string& name) {
    std::unique_ptr<nvinfer1::IPluginV3>& plugin = plugins_[name];
    if (!plugin) {
      nvinfer1::PluginFieldCollection none{0, nullptr};
      std::unique_ptr<nvinfer1::IPluginV3> created(
          library_.creator(name)->createPlugin("driven", &none, nvinfer1::TensorRTPhase::kRUNTIME));
      plugin.reset(runtime_of(*created).attachToContext(nullptr));
    }
    return runtime_of(*plugin);
  }

  PluginLibrary library_;
  std::map<std::string, std::unique_ptr<nvinfer1::IPluginV3>> plugins_;
};

}  // namespace

std::unique_ptr<Runner> make_runner(const std::string& library) { return std::make_unique<PluginRunner>(library); }

}  // namespace deployrec::test
