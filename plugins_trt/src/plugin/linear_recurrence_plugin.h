// TensorRT plugin LinearRecurrence(a [B,T,D], b [B,T,D], initial_state [B,D]) -> (hidden [B,T,D], final_state [B,D]).
#pragma once

#include "plugin/recurrence_plugin.h"

namespace deployrec {

class LinearRecurrencePlugin final : public RecurrencePlugin {
 public:
  static const Signature kSignature;

  LinearRecurrencePlugin() noexcept : RecurrencePlugin(kSignature, 2) {}

  nvinfer1::IPluginV3* clone() noexcept override;
  size_t getWorkspaceSize(const nvinfer1::DynamicPluginTensorDesc* inputs, int32_t input_count,
                          const nvinfer1::DynamicPluginTensorDesc* outputs,
                          int32_t output_count) const noexcept override;
  int32_t enqueue(const nvinfer1::PluginTensorDesc* input_desc, const nvinfer1::PluginTensorDesc* output_desc,
                  const void* const* inputs, void* const* outputs, void* workspace,
                  cudaStream_t stream) noexcept override;

 protected:
  bool shapes_agree(const nvinfer1::Dims* inputs) const noexcept override;
};

}  // namespace deployrec
