// The plugins' protocol: creators, fields, clones, types, shapes, formats, errors. plugin_test LIBRARY
// [REGISTRY_LIBRARY] With a registry library (a real libnvinfer_lean) the creators are found through it, as TensorRT
// would.
#include <NvInferRuntime.h>

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "check.h"
#include "plugin_library.h"

namespace deployrec::test {
namespace {

using nvinfer1::DataType;
using nvinfer1::Dims;
using nvinfer1::DynamicPluginTensorDesc;
using nvinfer1::IPluginCreatorV3One;
using nvinfer1::IPluginV3;
using nvinfer1::PluginTensorDesc;
using nvinfer1::TensorFormat;

class NoBuilder final : public nvinfer1::IExprBuilder {};

class Recorder final : public nvinfer1::IErrorRecorder {
 public:
  std::vector<std::string> errors;

  int32_t getNbErrors() const noexcept override { return static_cast<int32_t>(errors.size()); }
  nvinfer1::ErrorCode getErrorCode(int32_t) const noexcept override { return nvinfer1::ErrorCode::kFAILED_EXECUTION; }
  ErrorDesc getErrorDesc(int32_t i) const noexcept override { return errors[static_cast<size_t>(i)].c_str(); }
  bool hasOverflowed() const noexcept override { return false; }
  void clear() noexcept override { errors.clear(); }
  bool reportError(nvinfer1::ErrorCode, ErrorDesc text) noexcept override {
    errors.emplace_back(text);
    return true;
  }
  RefCount incRefCount() noexcept override { return 1; }
  RefCount decRefCount() noexcept override { return 1; }
};

class Context final : public nvinfer1::IPluginResourceContext {
 public:
  explicit Context(Recorder& recorder) : recorder_(recorder) {}
  nvinfer1::IGpuAllocator* getGpuAllocator() const noexcept override { return nullptr; }
  nvinfer1::IErrorRecorder* getErrorRecorder() const noexcept override { return &recorder_; }

 private:
  Recorder& recorder_;
};

PluginTensorDesc describe(DataType type, const std::vector<int64_t>& shape) {
  PluginTensorDesc desc{};
  desc.type = type;
  desc.format = TensorFormat::kLINEAR;
  desc.dims.nbDims = static_cast<int32_t>(shape.size());
  for (size_t i = 0; i < shape.size(); ++i) desc.dims.d[i] = shape[i];
  return desc;
}

struct Case {
  const char* name;
  std::vector<DataType> inputs;                // with fp32 elements
  std::vector<std::vector<int64_t>> shapes;    // valid, batch 3, time 5, dim 4
  std::vector<std::vector<int64_t>> bad_last;  // the last input's shape made wrong
};

const std::vector<Case>& cases() {
  static const std::vector<Case> all = {
      {"LinearRecurrence",
       {DataType::kFLOAT, DataType::kFLOAT, DataType::kFLOAT},
       {{3, 5, 4}, {3, 5, 4}, {3, 4}},
       {{2, 4}, {3, 5}, {4}}},
      {"GRURecurrence",
       {DataType::kFLOAT, DataType::kFLOAT, DataType::kFLOAT, DataType::kINT64},
       {{3, 5, 12}, {12, 4}, {3, 4}, {3}},
       {{2}, {3, 1}}},
  };
  return all;
}

std::unique_ptr<IPluginV3> create(IPluginCreatorV3One& creator) {
  const nvinfer1::PluginFieldCollection none{0, nullptr};
  return std::unique_ptr<IPluginV3>(creator.createPlugin("layer", &none, nvinfer1::TensorRTPhase::kBUILD));
}

std::vector<PluginTensorDesc> input_descs(const Case& c, const std::vector<std::vector<int64_t>>& shapes) {
  std::vector<PluginTensorDesc> descs;
  for (size_t i = 0; i < c.inputs.size(); ++i) descs.push_back(describe(c.inputs[i], shapes[i]));
  return descs;
}

const std::vector<PluginTensorDesc>& output_descs() {
  static const std::vector<PluginTensorDesc> descs = {describe(DataType::kFLOAT, {3, 5, 4}),
                                                      describe(DataType::kFLOAT, {3, 4})};
  return descs;
}

void test_identity(IPluginCreatorV3One& creator, const Case& c) {
  CHECK(std::strcmp(creator.getPluginVersion(), "1") == 0);
  CHECK(std::strcmp(creator.getPluginNamespace(), "") == 0);
  CHECK(creator.getFieldNames() != nullptr && creator.getFieldNames()->nbFields == 0);
  const auto plugin = create(creator);
  CHECK(plugin != nullptr);
  auto* core =
      static_cast<nvinfer1::IPluginV3OneCore*>(plugin->getCapabilityInterface(nvinfer1::PluginCapabilityType::kCORE));
  CHECK(core != nullptr && std::strcmp(core->getPluginName(), c.name) == 0);
  CHECK(std::strcmp(core->getPluginVersion(), "1") == 0);
  CHECK(build_of(*plugin).getNbOutputs() == 2);
}

// A plan stores the fields of getFieldsToSerialize; the plugin made from them behaves as the first.
void test_round_trip(IPluginCreatorV3One& creator, const Case& c) {
  const auto plugin = create(creator);
  const nvinfer1::PluginFieldCollection* fields = runtime_of(*plugin).getFieldsToSerialize();
  CHECK(fields != nullptr);
  const std::unique_ptr<IPluginV3> restored(creator.createPlugin("layer", fields, nvinfer1::TensorRTPhase::kRUNTIME));
  const std::unique_ptr<IPluginV3> cloned(restored->clone());
  CHECK(cloned != nullptr && cloned != restored);
  const auto inputs = input_descs(c, c.shapes);
  const auto count = static_cast<int32_t>(inputs.size());
  CHECK(runtime_of(*cloned).onShapeChange(inputs.data(), count, output_descs().data(), 2) == 0);
}

void test_bad_fields(IPluginCreatorV3One& creator) {
  const int32_t value = 1;
  const nvinfer1::PluginField unknown{"reverse", &value, nvinfer1::PluginFieldType::kINT32, 1};
  const nvinfer1::PluginFieldCollection fields{1, &unknown};
  CHECK(creator.createPlugin("layer", &fields, nvinfer1::TensorRTPhase::kBUILD) == nullptr);
}

void test_types(IPluginCreatorV3One& creator, const Case& c) {
  const auto plugin = create(creator);
  const auto count = static_cast<int32_t>(c.inputs.size());
  for (const DataType element : {DataType::kFLOAT, DataType::kHALF, DataType::kBF16}) {
    std::vector<DataType> types = c.inputs;
    types[0] = types[1] = element;
    DataType outputs[2] = {DataType::kINT8, DataType::kINT8};
    CHECK(build_of(*plugin).getOutputDataTypes(outputs, 2, types.data(), count) == 0);
    CHECK(outputs[0] == element && outputs[1] == DataType::kFLOAT);
    types[1] = element == DataType::kHALF ? DataType::kFLOAT : DataType::kHALF;
    CHECK(build_of(*plugin).getOutputDataTypes(outputs, 2, types.data(), count) != 0);
  }
  std::vector<DataType> integers = c.inputs;
  integers[0] = integers[1] = DataType::kINT32;
  DataType outputs[2];
  CHECK(build_of(*plugin).getOutputDataTypes(outputs, 2, integers.data(), count) != 0);
  CHECK(build_of(*plugin).getOutputDataTypes(outputs, 2, c.inputs.data(), count - 1) != 0);
}

void test_shapes(IPluginCreatorV3One& creator, const Case& c) {
  const auto plugin = create(creator);
  // Only the identity of a dimension expression matters here, never its value.
  const char tokens[4] = {};
  const auto token = [&](int i) { return reinterpret_cast<const nvinfer1::IDimensionExpr*>(tokens + i); };
  std::vector<nvinfer1::DimsExprs> inputs(c.inputs.size());
  inputs[0].nbDims = 3;
  for (int i = 0; i < 3; ++i) inputs[0].d[i] = token(i);
  inputs[2].nbDims = 2;
  inputs[2].d[0] = token(0);
  inputs[2].d[1] = token(3);
  nvinfer1::DimsExprs outputs[2];
  NoBuilder builder;
  const auto count = static_cast<int32_t>(inputs.size());
  CHECK(build_of(*plugin).getOutputShapes(inputs.data(), count, nullptr, 0, outputs, 2, builder) == 0);
  CHECK(outputs[0].nbDims == 3 && outputs[1].nbDims == 2);
  CHECK(outputs[0].d[0] == token(0) && outputs[0].d[1] == token(1) && outputs[0].d[2] == token(3));
  CHECK(outputs[1].d[0] == token(0) && outputs[1].d[1] == token(3));
  inputs[0].nbDims = 2;
  CHECK(build_of(*plugin).getOutputShapes(inputs.data(), count, nullptr, 0, outputs, 2, builder) != 0);
}

void test_formats(IPluginCreatorV3One& creator, const Case& c) {
  const auto plugin = create(creator);
  nvinfer1::IPluginV3OneBuild& build = build_of(*plugin);
  const auto inputs = static_cast<int32_t>(c.inputs.size());
  std::vector<DynamicPluginTensorDesc> tensors(static_cast<size_t>(inputs) + 2);
  const auto fill = [&](DataType element) {
    for (int32_t i = 0; i < inputs; ++i) tensors[i].desc.type = i < 2 ? element : c.inputs[i];
    tensors[inputs].desc.type = element;
    tensors[inputs + 1].desc.type = DataType::kFLOAT;
    for (auto& tensor : tensors) tensor.desc.format = TensorFormat::kLINEAR;
  };
  const auto supported = [&] {
    bool all = true;
    for (int32_t i = 0; i < inputs + 2; ++i) all = all && build.supportsFormatCombination(i, tensors.data(), inputs, 2);
    return all;
  };
  for (const DataType element : {DataType::kFLOAT, DataType::kHALF, DataType::kBF16}) {
    fill(element);
    CHECK(supported());
    for (size_t i = 0; i < tensors.size(); ++i) {
      fill(element);
      tensors[i].desc.format = TensorFormat::kCHW32;
      CHECK(!supported());
      fill(element);
      tensors[i].desc.type = DataType::kINT32;
      CHECK(!supported());
    }
  }
  fill(DataType::kHALF);
  tensors[2].desc.type = DataType::kHALF;  // the state stays fp32
  CHECK(!supported());
  fill(DataType::kFLOAT);
  CHECK(!build.supportsFormatCombination(inputs + 2, tensors.data(), inputs, 2));
  CHECK(!build.supportsFormatCombination(-1, tensors.data(), inputs, 2));
}

void test_configure(IPluginCreatorV3One& creator, const Case& c) {
  const auto plugin = create(creator);
  std::vector<DynamicPluginTensorDesc> tensors(c.inputs.size());
  const auto count = static_cast<int32_t>(tensors.size());
  for (size_t i = 0; i < tensors.size(); ++i) {
    tensors[i].desc = describe(c.inputs[i], c.shapes[i]);
    tensors[i].max = tensors[i].desc.dims;
    if (i != 1) tensors[i].desc.dims.d[0] = -1;  // a dynamic batch
  }
  DynamicPluginTensorDesc outputs[2] = {};
  CHECK(build_of(*plugin).configurePlugin(tensors.data(), count, outputs, 2) == 0);
  CHECK(build_of(*plugin).configurePlugin(tensors.data(), count, outputs, 1) != 0);
  CHECK(build_of(*plugin).getWorkspaceSize(tensors.data(), count, outputs, 2) == 0);
  tensors[2].desc.dims.d[1] = 7;
  CHECK(build_of(*plugin).configurePlugin(tensors.data(), count, outputs, 2) != 0);
}

void test_shape_errors(IPluginCreatorV3One& creator, const Case& c) {
  Recorder recorder;
  Context context(recorder);
  const auto plugin = create(creator);
  const std::unique_ptr<IPluginV3> attached(runtime_of(*plugin).attachToContext(&context));
  const auto count = static_cast<int32_t>(c.inputs.size());
  for (const auto& shape : c.bad_last) {
    auto shapes = c.shapes;
    shapes.back() = shape;
    const auto inputs = input_descs(c, shapes);
    recorder.clear();
    CHECK(runtime_of(*attached).onShapeChange(inputs.data(), count, output_descs().data(), 2) != 0);
    CHECK(recorder.errors == std::vector<std::string>{"the inputs' shapes do not agree"});
    // A plugin that is not attached has no recorder and must still only return its status.
    CHECK(runtime_of(*plugin).onShapeChange(inputs.data(), count, output_descs().data(), 2) != 0);
  }
}

#if NV_TENSORRT_MAJOR >= 11
// The registry's own interface changed from 10 to 11, so only a program built for 11 may talk to an 11.x registry.
std::vector<IPluginCreatorV3One*> registered_creators(const std::string& library, const std::string& registry_library) {
  void* nvinfer = dlopen(registry_library.c_str(), RTLD_NOW | RTLD_LOCAL);
  CHECK(nvinfer != nullptr);
  if (nvinfer == nullptr) return {};
  auto* get = reinterpret_cast<nvinfer1::IPluginRegistry* (*)()>(dlsym(nvinfer, "getPluginRegistry"));
  nvinfer1::IPluginRegistry* registry = get();
  CHECK(registry->getCreator("LinearRecurrence", "1", "") == nullptr);
  CHECK(registry->loadLibrary(library.c_str()) != nullptr);
  std::vector<IPluginCreatorV3One*> creators;
  for (const Case& c : cases()) {
    auto* creator = registry->getCreator(c.name, "1", "");
    CHECK(creator != nullptr);
    CHECK(registry->getCreator(c.name, "2", "") == nullptr);
    if (creator != nullptr) creators.push_back(static_cast<IPluginCreatorV3One*>(creator));
  }
  return creators;
}
#else
std::vector<IPluginCreatorV3One*> registered_creators(const std::string&, const std::string&) {
  std::printf("built with headers older than the registry library\n");
  return {};
}
#endif

std::vector<IPluginCreatorV3One*> direct_creators(const std::string& library) {
  const PluginLibrary plugins(library);
  CHECK(plugins.count() == 2);
  std::vector<IPluginCreatorV3One*> creators;
  for (const Case& c : cases()) creators.push_back(plugins.creator(c.name));
  return creators;
}

}  // namespace
}  // namespace deployrec::test

int main(int argc, char** argv) {
  using namespace deployrec::test;
  if (argc < 2) return 2;
  const auto creators = argc > 2 ? registered_creators(argv[1], argv[2]) : direct_creators(argv[1]);
  CHECK(creators.size() == cases().size());
  for (size_t i = 0; i < creators.size(); ++i) {
    test_identity(*creators[i], cases()[i]);
    test_round_trip(*creators[i], cases()[i]);
    test_bad_fields(*creators[i]);
    test_types(*creators[i], cases()[i]);
    test_shapes(*creators[i], cases()[i]);
    test_formats(*creators[i], cases()[i]);
    test_configure(*creators[i], cases()[i]);
    test_shape_errors(*creators[i], cases()[i]);
  }
  return finish("plugin protocol");
}
