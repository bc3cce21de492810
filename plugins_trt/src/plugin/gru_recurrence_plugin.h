// TensorRT plugin GRURecurrence(gates [B,T,3D], recurrent_weight [3D,D], initial_state [B,D], lengths [B])
//   -> (hidden [B,T,D], final_state [B,D]).
#pragma once

#include "plugin/recurrence_plugin.h"

namespace deployrec {

class GruRecurrencePlugin final : public RecurrencePlugin {
 public:
  static const Signature kSignature;

  GruRecurrencePlugin() noexcept : RecurrencePlugin(kSignature, 2) {}

  nvinfer1::IPluginV3* clone() noexcept override;
  int32_t enqueue(const nvinfer1::PluginTensorDesc* input_desc, const nvinfer1::PluginTensorDesc* output_desc,
                  const void* const* inputs, void* const* outputs, void* workspace,
                  cudaStream_t stream) noexcept override;

 protected:
  bool shapes_agree(const nvinfer1::Dims* inputs) const noexcept override;
};

}  // namespace deployrec
