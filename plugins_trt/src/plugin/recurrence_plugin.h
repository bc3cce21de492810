// What both recurrence plugins share: identity, types, shapes, cloning, errors. A subclass adds its tensors and its
// run.
#pragma once

#include <NvInferRuntime.h>

#include <cstdint>

#include "kernels/element.h"

namespace deployrec {

// What a tensor of a plugin may hold: kElement is fp32, fp16 or bf16, the same for all such tensors of one layer.
enum class PortType : int32_t { kElement, kFloat32, kInt64 };

struct Signature {
  const char* name;
  int32_t input_count;
  PortType inputs[4];
  PortType outputs[2];  // hidden [B,T,D], final_state [B,D]
};

constexpr const char* kPluginVersion = "1";
constexpr const char* kPluginNamespace = "";
constexpr int32_t kOutputCount = 2;

struct Sizes {
  int64_t batch, time, dim;
};

// Input 0 is [B,T,...]; the plugin holds nothing but its identity, so the field collection it serialises is empty.
class RecurrencePlugin : public nvinfer1::IPluginV3,
                         public nvinfer1::IPluginV3OneCore,
                         public nvinfer1::IPluginV3OneBuild,
                         public nvinfer1::IPluginV3OneRuntime {
 public:
  RecurrencePlugin(const Signature& signature, int32_t initial_state_input) noexcept
      : signature_(signature), initial_state_input_(initial_state_input) {}

  // IPluginV3
  nvinfer1::IPluginCapability* getCapabilityInterface(nvinfer1::PluginCapabilityType type) noexcept override;

  // IPluginV3OneCore
  const char* getPluginName() const noexcept override { return signature_.name; }
  const char* getPluginVersion() const noexcept override { return kPluginVersion; }
  const char* getPluginNamespace() const noexcept override { return kPluginNamespace; }

  // IPluginV3OneBuild
  int32_t getNbOutputs() const noexcept override { return kOutputCount; }
  int32_t configurePlugin(const nvinfer1::DynamicPluginTensorDesc* inputs, int32_t input_count,
                          const nvinfer1::DynamicPluginTensorDesc* outputs, int32_t output_count) noexcept override;
  int32_t getOutputDataTypes(nvinfer1::DataType* output_types, int32_t output_count,
                             const nvinfer1::DataType* input_types, int32_t input_count) const noexcept override;
  int32_t getOutputShapes(const nvinfer1::DimsExprs* inputs, int32_t input_count,
                          const nvinfer1::DimsExprs* shape_inputs, int32_t shape_input_count,
                          nvinfer1::DimsExprs* outputs, int32_t output_count,
                          nvinfer1::IExprBuilder& builder) noexcept override;
  bool supportsFormatCombination(int32_t position, const nvinfer1::DynamicPluginTensorDesc* tensors,
                                 int32_t input_count, int32_t output_count) noexcept override;

  // IPluginV3OneRuntime
  nvinfer1::IPluginV3* attachToContext(nvinfer1::IPluginResourceContext* context) noexcept override;
  int32_t onShapeChange(const nvinfer1::PluginTensorDesc* inputs, int32_t input_count,
                        const nvinfer1::PluginTensorDesc* outputs, int32_t output_count) noexcept override;
  const nvinfer1::PluginFieldCollection* getFieldsToSerialize() noexcept override;

 protected:
  // Whether the inputs' shapes agree with each other; a size that is not known yet (-1) agrees with anything.
  virtual bool shapes_agree(const nvinfer1::Dims* inputs) const noexcept = 0;

  Sizes sizes(const nvinfer1::PluginTensorDesc* inputs) const noexcept;

  // Returns the status of enqueue: 0, or 1 with `error` handed to the context's error recorder. Nothing is ever logged:
  // the logger's binary interface differs between TensorRT 10 and 11.
  int32_t report(const char* error) const noexcept;

 private:
  const Signature& signature_;
  int32_t initial_state_input_;
  nvinfer1::IErrorRecorder* error_recorder_ = nullptr;
};

ElementType element_type(nvinfer1::DataType type) noexcept;

// Sizes agree where they are equal or one is not known yet.
inline bool agree(int64_t left, int64_t right) noexcept { return left == right || left < 0 || right < 0; }

}  // namespace deployrec
