#include "tensorrt_runner.h"

#include <algorithm>

#include "files.h"

namespace deployrec {
namespace {

using nvinfer1::Dims;
using nvinfer1::OptProfileSelector;
using nvinfer1::TensorIOMode;

constexpr const char* kPast = "past.";
constexpr const char* kPresent = "present.";

Status wrong_engine(const std::string& plan, const std::string& got) {
  return {StatusCode::kWrongEngine,
          "expected a bundle's plan in " + plan + "; got " + got + "; build it with deployrec build engine"};
}

Status tensorrt_failed(const char* what, const std::string& said) {
  return {StatusCode::kDevice, std::string("expected TensorRT to ") + what + "; got " +
                                   (said.empty() ? "no reason" : said) + "; check the plan's TensorRT version and GPU"};
}

// Of a plan's optimization profiles the second is tuned for a single user, the first takes any number.
int32_t profile_of(int64_t batch) { return batch == 1 ? 1 : 0; }

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
    const std::lock_guard<std::mutex> turn(mutex_);
    last_ = message;
  } catch (...) {  // without memory for the text the code alone has to do
  }
}

std::string ErrorLog::take() {
  std::string text;
  {
    const std::lock_guard<std::mutex> turn(mutex_);
    std::swap(text, last_);
  }
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

TensorRtRunner::~TensorRtRunner() = default;

Status TensorRtRunner::load(const Options& options, Graph graph,
                            const std::vector<std::string>& state_order, std::shared_ptr<CudaDevice> device,
                            std::unique_ptr<Runner>* runner) {
  const std::string plan = options.plans + "/" + text_of(graph) + ".plan";
  std::string bytes;
  if (!read_file(plan, &bytes) || bytes.empty()) {
    return {StatusCode::kFile,
            "expected a plan in " + plan + "; got no readable file; build it with deployrec build engine, or " +
                "turn Options::" + text_of(graph) + " off"};
  }
  Status status = graph == Graph::kEncode ? load_plugins(options.plugin_library) : Status{};
  if (!status.ok()) return status;
  std::unique_ptr<TensorRtRunner> made(new TensorRtRunner(std::move(device)));
  made->runtime_.reset(nvinfer1::createInferRuntime(made->log_));
  if (made->runtime_ == nullptr) return tensorrt_failed("start", made->log_.take());
  made->runtime_->setEngineHostCodeAllowed(options.allow_host_code);
  made->engine_.reset(made->runtime_->deserializeCudaEngine(bytes.data(), bytes.size()));
  if (made->engine_ == nullptr) return tensorrt_failed("load the plan", made->log_.take());
  status = made->read_shape(plan, graph, state_order);
  if (!status.ok()) return status;
  const int64_t memory = std::max<int64_t>(1, device_memory_size(*made->engine_));
  status = made->activations_.allocate(made->device_, static_cast<size_t>(memory));
  if (status.ok()) *runner = std::move(made);
  return status;
}

Status TensorRtRunner::read_shape(const std::string& plan, Graph wanted, const std::vector<std::string>& state_order) {
  if (!parse_plan_name(engine_->getName(), &shape_.name)) return wrong_engine(plan, "one that does not say of which");
  if (graph() != wanted) return wrong_engine(plan, std::string("the plan of another graph, ") + text_of(graph()));
  Status status = check_tensors(plan);
  if (!status.ok()) return status;
  const auto largest = [&](const char* name) { return engine_->getProfileShape(name, 0, OptProfileSelector::kMAX); };
  const Dims rows = largest(moves_states(graph()) ? items_name() : "user");
  if (rows.nbDims != (graph() == Graph::kAdvance || graph() == Graph::kStep ? 1 : 2)) {
    return wrong_engine(plan, "inputs of another rank");
  }
  shape_.max_batch = rows.d[0];
  shape_.max_time = graph() == Graph::kEncode ? rows.d[1] : 0;
  shape_.max_exclude = makes_lists(graph()) ? largest("exclude_items").d[1] : 0;
  shape_.user_dim = engine_->getTensorShape("user").d[1];
  if (shape_.user_dim < 1) return wrong_engine(plan, "a plan whose user vector has no fixed width");
  return read_states(plan, state_order);
}

// Every tensor that a run binds, under its name and on its side.
Status TensorRtRunner::check_tensors(const std::string& plan) const {
  std::vector<const char*> inputs, outputs;
  (moves_states(graph()) ? outputs : inputs).push_back("user");
  if (moves_states(graph())) inputs.push_back(items_name());
  if (graph() == Graph::kEncode) inputs.push_back("lengths");
  if (makes_lists(graph())) {
    inputs.insert(inputs.end(), {"exclude_items", "k"});
    outputs.insert(outputs.end(), {"topk_items", "topk_scores"});
  }
  for (const char* name : inputs) {
    if (engine_->getTensorIOMode(name) != TensorIOMode::kINPUT) return wrong_engine(plan, std::string("no input ") + name);
  }
  for (const char* name : outputs) {
    if (engine_->getTensorIOMode(name) != TensorIOMode::kOUTPUT) {
      return wrong_engine(plan, std::string("no output ") + name);
    }
  }
  if (makes_lists(graph()) && engine_->getTensorLocation("k") != nvinfer1::TensorLocation::kHOST) {
    return wrong_engine(plan, "a k that decides no shape");
  }
  return {};
}

// Layout and order of the states, from the engine's own tensor names.
Status TensorRtRunner::read_states(const std::string& plan, const std::vector<std::string>& order) {
  for (int32_t i = 0; i < engine_->getNbIOTensors(); ++i) {
    const std::string name = engine_->getIOTensorName(i);
    if (!begins_with(name, kPast)) continue;
    const std::string state = name.substr(std::string(kPast).size());
    const std::string present = kPresent + state;
    if (engine_->getTensorIOMode(present.c_str()) != TensorIOMode::kOUTPUT) {
      return wrong_engine(plan, "no output " + present);
    }
    if (engine_->getTensorDataType(name.c_str()) != nvinfer1::DataType::kFLOAT ||
        engine_->getTensorDataType(present.c_str()) != nvinfer1::DataType::kFLOAT) {
      return wrong_engine(plan, "a state " + state + " that is not float32");
    }
    const Dims dims = engine_->getTensorShape(name.c_str());
    int64_t count = 1;
    for (int32_t axis = 1; axis < dims.nbDims; ++axis) count *= dims.d[axis];
    if (count < 1) return wrong_engine(plan, "a state " + state + " of no fixed size");
    shape_.states.push_back({state, count});
  }
  // All plans of a bundle must give one layout, whatever order they were built in.
  const auto place = [&](const std::string& name) { return std::find(order.begin(), order.end(), name); };
  std::sort(shape_.states.begin(), shape_.states.end(), [&](const StateTensor& a, const StateTensor& b) {
    return std::make_pair(place(a.name), a.name) < std::make_pair(place(b.name), b.name);
  });
  return {};
}

Status TensorRtRunner::run(const EngineMemory& memory, const RunSize& size) {
  Context* context = nullptr;
  Status status = context_for(size, &context);
  if (status.ok()) status = set_shapes(*context, size);
  if (status.ok()) status = bind(*context, memory);
  if (!status.ok()) return status;
  if (!context->context->enqueueV3(device_->stream())) return tensorrt_failed("run the plan", log_.take());
  return {};
}

Status TensorRtRunner::context_for(const RunSize& size, Context** context) {
  const bool is_encode = graph() == Graph::kEncode;
  Context& found = contexts_[is_encode ? std::make_tuple(int64_t{profile_of(size.batch)}, int64_t{0}, int64_t{0})
                                       : std::make_tuple(size.batch, size.k, size.exclude)];
  if (found.context == nullptr) {
    found.context.reset(engine_->createExecutionContext(nvinfer1::ExecutionContextAllocationStrategy::kUSER_MANAGED));
    if (found.context == nullptr) return tensorrt_failed("create a context", log_.take());
    give_memory(*found.context, activations_.as<void>(), device_memory_size(*engine_));
    if (!found.context->setOptimizationProfileAsync(profile_of(size.batch), device_->stream())) {
      found.context.reset();
      return tensorrt_failed("choose a profile", log_.take());
    }
  }
  *context = &found;
  return {};
}

Status TensorRtRunner::set_shapes(Context& context, const RunSize& size) {
  if (context.batch == size.batch && context.time == size.time) return {};
  const auto set = [&](const char* name, const Dims& dims) { return context.context->setInputShape(name, dims); };
  const auto vector_of = [](int64_t length) {
    Dims dims{};
    dims.nbDims = 1;
    dims.d[0] = length;
    return dims;
  };
  bool is_set = true;
  if (makes_lists(graph())) {
    context.k = size.k;
    is_set = set("exclude_items", nvinfer1::Dims2(size.batch, size.exclude)) && set("k", vector_of(1)) &&
             context.context->setTensorAddress("k", &context.k);
  }
  if (graph() == Graph::kEncode) {
    is_set = is_set && set("item_ids", nvinfer1::Dims2(size.batch, size.time)) && set("lengths", vector_of(size.batch));
  } else if (moves_states(graph())) {
    is_set = is_set && set("item_id", vector_of(size.batch));
  } else {
    is_set = is_set && set("user", nvinfer1::Dims2(size.batch, shape_.user_dim));
  }
  for (const StateTensor& state : shape_.states) {
    const std::string name = kPast + state.name;
    Dims dims = engine_->getTensorShape(name.c_str());
    dims.d[0] = size.batch;
    is_set = is_set && set(name.c_str(), dims);
  }
  if (!is_set) return tensorrt_failed("take the batch's shapes", log_.take());
  context.batch = size.batch;
  context.time = size.time;
  return {};
}

Status TensorRtRunner::bind(Context& context, const EngineMemory& memory) {
  const auto set = [&](const std::string& name, void* address) {
    return context.context->setTensorAddress(name.c_str(), address);
  };
  bool is_bound = set("user", memory.user);
  if (moves_states(graph())) is_bound = is_bound && set(items_name(), memory.items);
  if (graph() == Graph::kEncode) is_bound = is_bound && set("lengths", memory.lengths);
  for (size_t i = 0; i < shape_.states.size(); ++i) {
    is_bound = is_bound && set(kPast + shape_.states[i].name, memory.past[i]);
    is_bound = is_bound && set(kPresent + shape_.states[i].name, memory.present[i]);
  }
  if (makes_lists(graph())) {
    is_bound = is_bound && set("exclude_items", memory.exclude) && set("topk_items", memory.topk_items) &&
               set("topk_scores", memory.topk_scores);
  }
  return is_bound ? Status{} : tensorrt_failed("bind the tensors", log_.take());
}

}  // namespace deployrec
