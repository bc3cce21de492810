#include "plugin/linear_recurrence_plugin.h"

#include <new>

#include "kernels/linear_recurrence.h"

namespace deployrec {

const Signature LinearRecurrencePlugin::kSignature = {
    "LinearRecurrence",
    3,
    {PortType::kElement, PortType::kElement, PortType::kFloat32},
    {PortType::kElement, PortType::kFloat32},
};

nvinfer1::IPluginV3* LinearRecurrencePlugin::clone() noexcept {
  return new (std::nothrow) LinearRecurrencePlugin(*this);
}

size_t LinearRecurrencePlugin::getWorkspaceSize(const nvinfer1::DynamicPluginTensorDesc* inputs,
                                                int32_t /* input_count */,
                                                const nvinfer1::DynamicPluginTensorDesc* /* outputs */,
                                                int32_t /* output_count */) const noexcept {
  return linear_recurrence_workspace_bound(inputs[0].max.d[1]);
}

int32_t LinearRecurrencePlugin::enqueue(const nvinfer1::PluginTensorDesc* input_desc,
                                        const nvinfer1::PluginTensorDesc* /* output_desc */, const void* const* inputs,
                                        void* const* outputs, void* workspace, cudaStream_t stream) noexcept {
  const Sizes size = sizes(input_desc);
  const LinearRecurrence problem{element_type(input_desc[0].type),
                                 size.batch,
                                 size.time,
                                 size.dim,
                                 inputs[0],
                                 inputs[1],
                                 static_cast<const float*>(inputs[2]),
                                 outputs[0],
                                 static_cast<float*>(outputs[1])};
  return report(linear_recurrence(problem, workspace, stream));
}

bool LinearRecurrencePlugin::shapes_agree(const nvinfer1::Dims* inputs) const noexcept {
  const nvinfer1::Dims& a = inputs[0];
  const nvinfer1::Dims& b = inputs[1];
  const nvinfer1::Dims& state = inputs[2];
  if (a.nbDims != 3 || b.nbDims != 3 || state.nbDims != 2) return false;
  return agree(a.d[0], b.d[0]) && agree(a.d[1], b.d[1]) && agree(a.d[2], b.d[2]) && agree(a.d[0], state.d[0]) &&
         agree(a.d[2], state.d[1]);
}

}  // namespace deployrec
