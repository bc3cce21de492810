// The plugin library as its users see it: two functions found by name, and the objects behind them.
#pragma once

#include <NvInferRuntime.h>
#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <string>

namespace deployrec::test {

class PluginLibrary {
 public:
  explicit PluginLibrary(const std::string& path) {
    void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    auto* find = library == nullptr ? nullptr : dlsym(library, "getCreators");
    if (find == nullptr) {
      std::printf("%s\n", dlerror());
      std::exit(1);
    }
    creators_ = reinterpret_cast<nvinfer1::IPluginCreatorInterface* const* (*)(int32_t&)>(find)(count_);
  }

  int32_t count() const { return count_; }

  nvinfer1::IPluginCreatorV3One* creator(const std::string& name) const {
    for (int32_t i = 0; i < count_; ++i) {
      auto* creator = static_cast<nvinfer1::IPluginCreatorV3One*>(creators_[i]);
      if (name == creator->getPluginName()) return creator;
    }
    std::printf("no creator of %s\n", name.c_str());
    std::exit(1);
  }

 private:
  int32_t count_ = 0;
  nvinfer1::IPluginCreatorInterface* const* creators_ = nullptr;
};

inline nvinfer1::IPluginV3OneRuntime& runtime_of(nvinfer1::IPluginV3& plugin) {
  return *static_cast<nvinfer1::IPluginV3OneRuntime*>(
      plugin.getCapabilityInterface(nvinfer1::PluginCapabilityType::kRUNTIME));
}

inline nvinfer1::IPluginV3OneBuild& build_of(nvinfer1::IPluginV3& plugin) {
  return *static_cast<nvinfer1::IPluginV3OneBuild*>(
      plugin.getCapabilityInterface(nvinfer1::PluginCapabilityType::kBUILD));
}

}  // namespace deployrec::test
