#include "tensorrt_runner.h"
#include "plan_name.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <vector>

namespace deployrec {
namespace {

using nvinfer1::Dims;
using nvinfer1::OptProfileSelector;
using nvinfer1::TensorIOMode;

constexpr const char* kPast = "past.";
constexpr const char* kPresent = "present.";

Status wrong_engine(const std::string& plan, const std::string& got) {
  return {StatusCode::kWrongEngine,
          "expected a step or encode plan in " + plan + "; got " + got + "; build it with deployrec build engine"};
}

Status tensorrt_failed(const char* what, const std::string& said) {
  return {StatusCode::kDevice, std::string("expected TensorRT to ") + what + "; got " +
                                   (said.empty() ? "no reason" : said) + "; check the plan's TensorRT version and GPU"};
}

bool begins_with(const std::string& text, const char* start) { return text.rfind(start, 0) == 0; }

int64_t device_memory_size(const nvinfer1::ICudaEngine& engine) {
#if NV_TENSORRT_MAJOR >= 11
  return engine.getDeviceMemorySizeV2();
#else
  return static_cast<int64_t>(engine.getDeviceMemorySize());
#endif
}

void give_memory(nvinfer1::IExecutionContext& context, void* memory, int64_t bytes) {
#if NV_TENSORRT_MAJOR >= 11
  context.setDeviceMemoryV2(memory, bytes);
#else
  static_cast<void>(bytes);
  context.setDeviceMemory(memory);
#endif
}

Status load_plugins(const std::string& library) {
  // TensorRT loads a library twice without complaint, but then has every creator twice.
  nvinfer1::IPluginRegistry* registry = getPluginRegistry();
  if (library.empty() || registry->getCreator("LinearRecurrence", "1", "") != nullptr) return {};
  if (registry->loadLibrary(library.c_str()) != nullptr) return {};
  return {StatusCode::kFile, "expected the plugin library in " + library +
                                 "; got one that cannot be loaded; build plugins_trt for this machine"};
}

}  // namespace

void ErrorLog::log(Severity severity, const char* message) noexcept {
  if (severity > Severity::kERROR) return;
  try {
    last_ = message;
  } catch (...) {  // without memory for the text the code alone has to do
  }
}

std::string ErrorLog::take() {
  std::string text;
  std::swap(text, last_);
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

TensorRtRunner::~TensorRtRunner() = default;

Status TensorRtRunner::load(const std::string& plan, const std::string& plugin_library,
                            std::shared_ptr<CudaDevice> device, std::unique_ptr<Runner>* runner) {
  std::ifstream file(plan, std::ios::binary);
  const std::vector<char> bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  if (bytes.empty()) {
    return {StatusCode::kFile,
            "expected a plan in " + plan + "; got no readable file; build it with deployrec build engine"};
  }
  Status status = load_plugins(plugin_library);
  if (!status.ok()) return status;
  std::unique_ptr<TensorRtRunner> made(new TensorRtRunner(std::move(device)));
  made->runtime_.reset(nvinfer1::createInferRuntime(made->log_));
  if (made->runtime_ == nullptr) return tensorrt_failed("start", made->log_.take());
  made->engine_.reset(made->runtime_->deserializeCudaEngine(bytes.data(), bytes.size()));
  if (made->engine_ == nullptr) return tensorrt_failed("load the plan", made->log_.take());
  status = made->read_shape(plan);
  if (!status.ok()) return status;
  const int64_t memory = std::max<int64_t>(1, device_memory_size(*made->engine_));
  status = made->activations_.allocate(made->device_, static_cast<size_t>(memory));
  if (status.ok()) *runner = std::move(made);
  return status;
}

Status TensorRtRunner::read_shape(const std::string& plan) {
  const bool is_encode = engine_->getTensorIOMode("item_ids") == TensorIOMode::kINPUT;
  if (!is_encode && engine_->getTensorIOMode("item_id") != TensorIOMode::kINPUT) {
    return wrong_engine(plan, "a plan without an input item_id or item_ids");
  }
  for (const char* name : {"topk_items", "topk_scores", "user"}) {
    if (engine_->getTensorIOMode(name) != TensorIOMode::kOUTPUT) return wrong_engine(plan, std::string("none ") + name);
  }
  if (!parse_plan_name(engine_->getName(), &shape_)) return wrong_engine(plan, "a plan of another build");
  const Dims items = engine_->getProfileShape(is_encode ? "item_ids" : "item_id", 0, OptProfileSelector::kMAX);
  const Dims exclude = engine_->getProfileShape("exclude_items", 0, OptProfileSelector::kMAX);
  if (items.nbDims != (is_encode ? 2 : 1) || exclude.nbDims != 2) return wrong_engine(plan, "inputs of another rank");
  shape_.max_batch = items.d[0];
  shape_.max_time = is_encode ? items.d[1] : 0;
  shape_.max_exclude = exclude.d[1];
  shape_.k = engine_->getTensorShape("topk_items").d[1];
  shape_.user_dim = engine_->getTensorShape("user").d[1];
  if (shape_.k < 1 || shape_.user_dim < 1) return wrong_engine(plan, "a plan whose top-k or user width is not fixed");
  Status status = read_states();
  return status.ok() || status.code() != StatusCode::kWrongEngine ? status : wrong_engine(plan, status.message());
}

// Layout and order of the states, from the engine's own tensor names.
Status TensorRtRunner::read_states() {
  for (int32_t i = 0; i < engine_->getNbIOTensors(); ++i) {
    const std::string name = engine_->getIOTensorName(i);
    if (!begins_with(name, kPast)) continue;
    const std::string state = name.substr(std::string(kPast).size());
    const std::string present = kPresent + state;
    if (engine_->getTensorIOMode(present.c_str()) != TensorIOMode::kOUTPUT) {
      return {StatusCode::kWrongEngine, "no output " + present};
    }
    if (engine_->getTensorDataType(name.c_str()) != nvinfer1::DataType::kFLOAT ||
        engine_->getTensorDataType(present.c_str()) != nvinfer1::DataType::kFLOAT) {
      return {StatusCode::kWrongEngine, "a state " + state + " that is not float32"};
    }
    const Dims dims = engine_->getTensorShape(name.c_str());
    int64_t count = 1;
    for (int32_t axis = 1; axis < dims.nbDims; ++axis) count *= dims.d[axis];
    if (count < 1) return {StatusCode::kWrongEngine, "a state " + state + " of no fixed size"};
    shape_.states.push_back({state, count});
  }
  // Both plans of a bundle must give one layout, whatever order they were built in.
  std::sort(shape_.states.begin(), shape_.states.end(),
            [](const StateTensor& a, const StateTensor& b) { return a.name < b.name; });
  return {};
}

Status TensorRtRunner::run(const EngineMemory& memory, int64_t batch, int64_t time) {
  Context* context = nullptr;
  Status status = context_for(batch, &context);
  if (status.ok()) status = set_shapes(*context, batch, time, memory.exclude_width);
  if (status.ok()) status = bind(*context->context, memory);
  if (!status.ok()) return status;
  if (!context->context->enqueueV3(device_->stream())) return tensorrt_failed("run the plan", log_.take());
  return {};
}

Status TensorRtRunner::context_for(int64_t batch, Context** context) {
  Context& found = contexts_[shape_.max_time > 0 ? 0 : batch];
  if (found.context == nullptr) {
    found.context.reset(engine_->createExecutionContext(nvinfer1::ExecutionContextAllocationStrategy::kUSER_MANAGED));
    if (found.context == nullptr) return tensorrt_failed("create a context", log_.take());
    give_memory(*found.context, activations_.as<void>(), device_memory_size(*engine_));
  }
  *context = &found;
  return {};
}

Status TensorRtRunner::set_shapes(Context& context, int64_t batch, int64_t time, int64_t exclude_width) {
  if (context.batch == batch && context.time == time) return {};
  bool is_set = context.context->setInputShape("exclude_items", nvinfer1::Dims2(batch, exclude_width));
  if (shape_.max_time > 0) {
    is_set = is_set && context.context->setInputShape("item_ids", nvinfer1::Dims2(batch, time));
  }
  Dims rows{};
  rows.nbDims = 1;
  rows.d[0] = batch;
  is_set = is_set && context.context->setInputShape(shape_.max_time > 0 ? "lengths" : "item_id", rows);
  for (const StateTensor& state : shape_.states) {
    const std::string name = kPast + state.name;
    Dims dims = engine_->getTensorShape(name.c_str());
    dims.d[0] = batch;
    is_set = is_set && context.context->setInputShape(name.c_str(), dims);
  }
  if (!is_set) return tensorrt_failed("take the batch's shapes", log_.take());
  context.batch = batch;
  context.time = time;
  return {};
}

Status TensorRtRunner::bind(nvinfer1::IExecutionContext& context, const EngineMemory& memory) {
  bool is_bound = context.setTensorAddress("exclude_items", memory.exclude);
  if (shape_.max_time > 0) {
    is_bound = is_bound && context.setTensorAddress("item_ids", memory.items);
    is_bound = is_bound && context.setTensorAddress("lengths", memory.lengths);
  } else {
    is_bound = is_bound && context.setTensorAddress("item_id", memory.items);
  }
  for (size_t i = 0; i < shape_.states.size(); ++i) {
    is_bound = is_bound && context.setTensorAddress((kPast + shape_.states[i].name).c_str(), memory.past[i]);
    is_bound = is_bound && context.setTensorAddress((kPresent + shape_.states[i].name).c_str(), memory.present[i]);
  }
  is_bound = is_bound && context.setTensorAddress("topk_items", memory.topk_items);
  is_bound = is_bound && context.setTensorAddress("topk_scores", memory.topk_scores);
  is_bound = is_bound && context.setTensorAddress("user", memory.user);
  return is_bound ? Status{} : tensorrt_failed("bind the tensors", log_.take());
}

}  // namespace deployrec
