#include "onnxruntime_runner.h"

#include <algorithm>
#include <numeric>

#include "deployrec/catalogue.h"
#include "graph_file.h"
#include "onnxruntime_options.h"

namespace deployrec {
namespace {

constexpr const char* kTableFile = "items.bin";
// From so many bytes on the sessions read the table as it lies: packing it for the CPU would make a copy in each.
constexpr size_t kLargeTable = size_t{32} << 20;
constexpr size_t kMostBindings = 64;

template <class Value>
constexpr ONNXTensorElementDataType kElement =
    sizeof(Value) == sizeof(float) ? ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT : ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64;

int64_t product(const std::vector<int64_t>& dims) {
  return std::accumulate(dims.begin(), dims.end(), int64_t{1}, std::multiplies<>());
}

// Which rows are retired; the graphs leave them out by themselves.
Status read_retired(const Bundle& bundle, std::vector<char>* is_retired) {
  if (!bundle.has(Catalogue::kRetiredFile)) return {};
  std::unique_ptr<Catalogue> catalogue;
  Status status = Catalogue::load(bundle.folder(), &catalogue);
  for (int64_t row = 0; status.ok() && row <= catalogue->num_items(); ++row) {
    is_retired->push_back(catalogue->is_retired(row));
  }
  return status;
}

}  // namespace

Status OnnxRuntimeRunner::read_table(std::shared_ptr<OnnxRuntime> runtime, const Bundle& bundle,
                                     std::shared_ptr<ItemTable>* table) {
  const OrtApi& api = runtime->api();
  auto made = std::make_shared<ItemTable>(ItemTable{{}, OrtOwned<OrtValue>(api.ReleaseValue), 0, {}});
  Status status = bundle.read(kTableFile, &made->bytes);
  if (!status.ok()) return status;
  made->num_items = bundle.name(Graph::kScore).num_items;
  const std::vector<int64_t> dims{made->num_items + 1, bundle.dim()};
  if (made->bytes.size() != static_cast<size_t>(product(dims)) * sizeof(float)) {
    return {StatusCode::kFile, "expected " + bundle.folder() + "/" + kTableFile + " as float32 [" +
                                   std::to_string(dims[0]) + ", " + std::to_string(dims[1]) + "]; got " +
                                   std::to_string(made->bytes.size()) + " bytes; export the bundle again"};
  }
  status = runtime->check(
      api.CreateTensorWithDataAsOrtValue(runtime->host(), made->bytes.data(), made->bytes.size(), dims.data(),
                                         dims.size(), kElement<float>, made->value.out()),
      "take the item table");
  if (status.ok()) status = read_retired(bundle, &made->vectors.is_retired);
  made->vectors.values = reinterpret_cast<const float*>(made->bytes.data());
  made->vectors.dim = bundle.dim();
  if (status.ok()) *table = std::move(made);
  return status;
}

Status OnnxRuntimeRunner::load(std::shared_ptr<OnnxRuntime> runtime, const Bundle& bundle, Graph graph,
                               const Options& options, std::shared_ptr<ItemTable> table,
                               std::unique_ptr<OnnxRuntimeRunner>* runner) {
  const OrtApi& api = runtime->api();
  std::string content;
  Status status = bundle.read_graph(graph, &content);
  std::vector<std::string> shared;
  if (!status.ok()) return status;
  const std::string path = bundle.folder() + ", graph " + text_of(graph) + ",";
  if (!external_initializers(content, &shared)) {
    return {StatusCode::kFile, "expected an ONNX graph in " + path + "; got other bytes; export the bundle again"};
  }
  std::unique_ptr<OnnxRuntimeRunner> made(new OnnxRuntimeRunner);
  made->session_ = std::make_shared<Session>(Session{runtime, table, OrtOwned<OrtSession>(api.ReleaseSession)});
  OrtOwned<OrtSessionOptions> session_options(api.ReleaseSessionOptions);
  status = make_session_options(*runtime, options, table->bytes.size() >= kLargeTable, &session_options);
  const std::vector<const OrtValue*> values(shared.size(), table->value.get());
  std::vector<const char*> names;
  for (const std::string& name : shared) names.push_back(name.c_str());
  if (status.ok() && !names.empty()) {
    status = runtime->check(
        api.AddExternalInitializers(session_options.get(), names.data(), values.data(), names.size()),
        "take the item table");
  }
  // By the first the numbers are there for whatever reads the graph; by the second no session on the CPU copies them.
  for (size_t i = 0; status.ok() && options.provider == Provider::kCpu && i < names.size(); ++i) {
    status = runtime->check(api.AddInitializer(session_options.get(), names[i], values[i]), "take the item table");
  }
  if (status.ok()) {
    status = runtime->check(api.CreateSessionFromArray(runtime->env(), content.data(), content.size(),
                                                       session_options.get(), made->session_->session.out()),
                            "load " + path, StatusCode::kFile);
  }
  if (!status.ok()) return status;
  EngineShape& shape = made->shape_;
  shape.name = bundle.name(graph);
  shape.takes_any_size = true;
  shape.max_batch = options.max_batch;
  shape.max_time = graph == Graph::kEncode ? bundle.encode_chunk() : 0;
  shape.max_exclude = makes_lists(graph) ? options.max_exclude : 0;
  shape.user_dim = bundle.dim();
  for (const Bundle::StateShape& state : bundle.states()) {
    if (!moves_states(graph)) break;
    shape.states.push_back({state.name, product(state.dims)});
    made->dims_.push_back(state.dims);
  }
  *runner = std::move(made);
  return {};
}

std::unique_ptr<OnnxRuntimeRunner> OnnxRuntimeRunner::share() const {
  std::unique_ptr<OnnxRuntimeRunner> other(new OnnxRuntimeRunner);
  other->session_ = session_;
  other->shape_ = shape_;
  other->dims_ = dims_;
  return other;
}

Status OnnxRuntimeRunner::run(const EngineMemory& memory, const RunSize& size) {
  const Size key{size.batch, size.time, size.k, size.exclude};
  auto found = bindings_.find(key);
  if (found != bindings_.end() && !(found->second.memory == memory)) {
    bindings_.erase(found);
    found = bindings_.end();
  }
  if (found == bindings_.end()) {
    if (bindings_.size() >= kMostBindings) bindings_.clear();
    found = bindings_.emplace(key, Binding{memory, size.k, OrtOwned<OrtIoBinding>(api().ReleaseIoBinding), {}}).first;
    Status status = bind(memory, size, &found->second);
    if (!status.ok()) {
      bindings_.erase(found);
      return status;
    }
  }
  return session_->runtime->check(
      api().RunWithBinding(session_->session.get(), nullptr, found->second.bound.get()),
      std::string("run the ") + text_of(shape_.name.graph) + " graph");
}

Status OnnxRuntimeRunner::bind(const EngineMemory& memory, const RunSize& size, Binding* binding) const {
  const Graph graph = shape_.name.graph;
  Status status =
      session_->runtime->check(api().CreateIoBinding(session_->session.get(), binding->bound.out()), "bind");
  if (status.ok()) status = put(binding, "user", memory.user, {size.batch, shape_.user_dim}, !moves_states(graph));
  if (status.ok() && graph == Graph::kEncode) {
    status = put(binding, "item_ids", memory.items, {size.batch, size.time}, true);
    if (status.ok()) status = put(binding, "lengths", memory.lengths, {size.batch}, true);
  } else if (status.ok() && moves_states(graph)) {
    status = put(binding, "item_id", memory.items, {size.batch}, true);
  }
  for (size_t i = 0; status.ok() && i < shape_.states.size(); ++i) {
    std::vector<int64_t> dims{size.batch};
    dims.insert(dims.end(), dims_[i].begin(), dims_[i].end());
    status = put(binding, "past." + shape_.states[i].name, memory.past[i], dims, true);
    if (status.ok()) status = put(binding, "present." + shape_.states[i].name, memory.present[i], dims, false);
  }
  if (!status.ok() || !makes_lists(graph)) return status;
  status = put(binding, "exclude_items", memory.exclude, {size.batch, size.exclude}, true);
  if (status.ok()) status = put(binding, "k", &binding->k, {1}, true);
  if (status.ok()) status = put(binding, "topk_items", memory.topk_items, {size.batch, size.k}, false);
  if (status.ok()) status = put(binding, "topk_scores", memory.topk_scores, {size.batch, size.k}, false);
  return status;
}

template <class Value>
Status OnnxRuntimeRunner::put(Binding* binding, const std::string& name, Value* memory, std::vector<int64_t> dims,
                              bool is_input) const {
  const OnnxRuntime& runtime = *session_->runtime;
  OrtOwned<OrtValue> value(api().ReleaseValue);
  const size_t bytes = static_cast<size_t>(product(dims)) * sizeof(Value);
  Status status = runtime.check(api().CreateTensorWithDataAsOrtValue(runtime.host(), memory, bytes, dims.data(),
                                                                     dims.size(), kElement<Value>, value.out()),
                                "take " + name);
  if (!status.ok()) return status;
  const auto bind = is_input ? api().BindInput : api().BindOutput;
  status = runtime.check(bind(binding->bound.get(), name.c_str(), value.get()), "bind " + name);
  if (status.ok()) binding->values.push_back(std::move(value));
  return status;
}

}  // namespace deployrec
