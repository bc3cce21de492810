#include "plugin/recurrence_plugin.h"

namespace deployrec {

using nvinfer1::DataType;
using nvinfer1::Dims;
using nvinfer1::DimsExprs;
using nvinfer1::DynamicPluginTensorDesc;
using nvinfer1::PluginTensorDesc;

namespace {

constexpr int32_t kDone = 0;
constexpr int32_t kFailed = 1;
constexpr int32_t kMostInputs = 4;

bool is_element(DataType type) {
  return type == DataType::kFLOAT || type == DataType::kHALF || type == DataType::kBF16;
}

bool holds(PortType port, DataType type, DataType element) {
  switch (port) {
    case PortType::kElement:
      return is_element(type) && type == element;
    case PortType::kFloat32:
      return type == DataType::kFLOAT;
    case PortType::kInt64:
      return type == DataType::kINT64;
  }
  return false;
}

}  // namespace

nvinfer1::IPluginCapability* RecurrencePlugin::getCapabilityInterface(nvinfer1::PluginCapabilityType type) noexcept {
  switch (type) {
    case nvinfer1::PluginCapabilityType::kCORE:
      return static_cast<nvinfer1::IPluginV3OneCore*>(this);
    case nvinfer1::PluginCapabilityType::kBUILD:
      return static_cast<nvinfer1::IPluginV3OneBuild*>(this);
    case nvinfer1::PluginCapabilityType::kRUNTIME:
      return static_cast<nvinfer1::IPluginV3OneRuntime*>(this);
  }
  return nullptr;
}

int32_t RecurrencePlugin::configurePlugin(const DynamicPluginTensorDesc* inputs, int32_t input_count,
                                          const DynamicPluginTensorDesc* /* outputs */, int32_t output_count) noexcept {
  if (input_count != signature_.input_count || output_count != kOutputCount) return kFailed;
  Dims shapes[kMostInputs];
  for (int32_t i = 0; i < input_count; ++i) shapes[i] = inputs[i].desc.dims;
  return shapes_agree(shapes) ? kDone : kFailed;
}

int32_t RecurrencePlugin::getOutputDataTypes(DataType* output_types, int32_t output_count, const DataType* input_types,
                                             int32_t input_count) const noexcept {
  if (input_count != signature_.input_count || output_count != kOutputCount) return kFailed;
  for (int32_t i = 0; i < input_count; ++i) {
    if (!holds(signature_.inputs[i], input_types[i], input_types[0])) return kFailed;
  }
  output_types[0] = input_types[0];
  output_types[1] = DataType::kFLOAT;
  return kDone;
}

int32_t RecurrencePlugin::getOutputShapes(const DimsExprs* inputs, int32_t input_count,
                                          const DimsExprs* /* shape_inputs */, int32_t /* shape_input_count */,
                                          DimsExprs* outputs, int32_t output_count,
                                          nvinfer1::IExprBuilder& /* builder */) noexcept {
  if (input_count != signature_.input_count || output_count != kOutputCount) return kFailed;
  const DimsExprs& state = inputs[initial_state_input_];
  if (inputs[0].nbDims != 3 || state.nbDims != 2) return kFailed;
  outputs[0].nbDims = 3;
  outputs[0].d[0] = inputs[0].d[0];
  outputs[0].d[1] = inputs[0].d[1];
  outputs[0].d[2] = state.d[1];
  outputs[1] = state;
  return kDone;
}

bool RecurrencePlugin::supportsFormatCombination(int32_t position, const DynamicPluginTensorDesc* tensors,
                                                 int32_t input_count, int32_t output_count) noexcept {
  if (input_count != signature_.input_count || output_count != kOutputCount) return false;
  if (position < 0 || position >= input_count + output_count) return false;
  const PluginTensorDesc& tensor = tensors[position].desc;
  const PortType port =
      position < input_count ? signature_.inputs[position] : signature_.outputs[position - input_count];
  return tensor.format == nvinfer1::TensorFormat::kLINEAR && holds(port, tensor.type, tensors[0].desc.type);
}

nvinfer1::IPluginV3* RecurrencePlugin::attachToContext(nvinfer1::IPluginResourceContext* context) noexcept {
  auto* attached = static_cast<RecurrencePlugin*>(clone());
  if (attached != nullptr && context != nullptr) attached->error_recorder_ = context->getErrorRecorder();
  return attached;
}

int32_t RecurrencePlugin::onShapeChange(const PluginTensorDesc* inputs, int32_t input_count,
                                        const PluginTensorDesc* /* outputs */, int32_t output_count) noexcept {
  if (input_count != signature_.input_count || output_count != kOutputCount) return report("wrong number of tensors");
  Dims shapes[kMostInputs];
  for (int32_t i = 0; i < input_count; ++i) shapes[i] = inputs[i].dims;
  return report(shapes_agree(shapes) ? nullptr : "the inputs' shapes do not agree");
}

const nvinfer1::PluginFieldCollection* RecurrencePlugin::getFieldsToSerialize() noexcept {
  static const nvinfer1::PluginFieldCollection kNone{0, nullptr};
  return &kNone;
}

Sizes RecurrencePlugin::sizes(const PluginTensorDesc* inputs) const noexcept {
  return {inputs[0].dims.d[0], inputs[0].dims.d[1], inputs[initial_state_input_].dims.d[1]};
}

int32_t RecurrencePlugin::report(const char* error) const noexcept {
  if (error == nullptr) return kDone;
  if (error_recorder_ != nullptr) error_recorder_->reportError(nvinfer1::ErrorCode::kFAILED_EXECUTION, error);
  return kFailed;
}

ElementType element_type(DataType type) noexcept {
  if (type == DataType::kHALF) return ElementType::kFloat16;
  if (type == DataType::kBF16) return ElementType::kBFloat16;
  return ElementType::kFloat32;
}

}  // namespace deployrec
