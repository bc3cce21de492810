#include "plugin/gru_recurrence_plugin.h"

#include <new>

#include "kernels/gru_recurrence.h"

namespace deployrec {

const Signature GruRecurrencePlugin::kSignature = {
    "GRURecurrence",
    4,
    {PortType::kElement, PortType::kElement, PortType::kFloat32, PortType::kInt64},
    {PortType::kElement, PortType::kFloat32},
};

nvinfer1::IPluginV3* GruRecurrencePlugin::clone() noexcept { return new (std::nothrow) GruRecurrencePlugin(*this); }

int32_t GruRecurrencePlugin::enqueue(const nvinfer1::PluginTensorDesc* input_desc,
                                     const nvinfer1::PluginTensorDesc* /* output_desc */, const void* const* inputs,
                                     void* const* outputs, void* /* workspace */, cudaStream_t stream) noexcept {
  const Sizes size = sizes(input_desc);
  const GruRecurrence problem{element_type(input_desc[0].type),
                              size.batch,
                              size.time,
                              size.dim,
                              inputs[0],
                              inputs[1],
                              static_cast<const float*>(inputs[2]),
                              static_cast<const int64_t*>(inputs[3]),
                              outputs[0],
                              static_cast<float*>(outputs[1])};
  return report(gru_recurrence(problem, stream));
}

bool GruRecurrencePlugin::shapes_agree(const nvinfer1::Dims* inputs) const noexcept {
  const nvinfer1::Dims& gates = inputs[0];
  const nvinfer1::Dims& weight = inputs[1];
  const nvinfer1::Dims& state = inputs[2];
  const nvinfer1::Dims& lengths = inputs[3];
  if (gates.nbDims != 3 || weight.nbDims != 2 || state.nbDims != 2 || lengths.nbDims != 1) return false;
  const int64_t dim = state.d[1];
  const int64_t gate_dim = dim < 0 ? -1 : 3 * dim;
  return agree(gates.d[0], state.d[0]) && agree(gates.d[0], lengths.d[0]) && agree(gates.d[2], gate_dim) &&
         agree(weight.d[0], gate_dim) && agree(weight.d[1], dim);
}

}  // namespace deployrec
