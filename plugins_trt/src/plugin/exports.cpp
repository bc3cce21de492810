// The two functions by which TensorRT's plugin registry, trtexec and ONNX Runtime find the plugins.
#include <NvInferRuntime.h>

#include <new>

#include "plugin/gru_recurrence_plugin.h"
#include "plugin/linear_recurrence_plugin.h"

namespace deployrec {
namespace {

template <class Plugin>
class Creator final : public nvinfer1::IPluginCreatorV3One {
 public:
  // Neither plugin has an attribute: a field can only come from a plan of another library, whose plugin this is not.
  nvinfer1::IPluginV3* createPlugin(const char* /* name */, const nvinfer1::PluginFieldCollection* fields,
                                    nvinfer1::TensorRTPhase /* phase */) noexcept override {
    if (fields != nullptr && fields->nbFields != 0) return nullptr;
    return new (std::nothrow) Plugin();
  }
  const nvinfer1::PluginFieldCollection* getFieldNames() noexcept override { return &fields_; }
  const char* getPluginName() const noexcept override { return Plugin::kSignature.name; }
  const char* getPluginVersion() const noexcept override { return kPluginVersion; }
  const char* getPluginNamespace() const noexcept override { return kPluginNamespace; }

 private:
  nvinfer1::PluginFieldCollection fields_{0, nullptr};
};

}  // namespace
}  // namespace deployrec

extern "C" {

__attribute__((visibility("default"))) nvinfer1::IPluginCreatorInterface* const* getCreators(int32_t& count) {
  static deployrec::Creator<deployrec::LinearRecurrencePlugin> linear_recurrence;
  static deployrec::Creator<deployrec::GruRecurrencePlugin> gru_recurrence;
  static nvinfer1::IPluginCreatorInterface* const creators[] = {&linear_recurrence, &gru_recurrence};
  count = 2;
  return creators;
}

// The registry refuses a library without this function. The plugins never log, so the finder is not kept.
__attribute__((visibility("default"))) void setLoggerFinder(nvinfer1::ILoggerFinder* /* finder */) {}

}  // extern "C"
