// The Runner of a bundle's ONNX graph, on buffers that are bound once for each size of run.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "bundle.h"
#include "deployrec/serving.h"
#include "onnxruntime_api.h"
#include "runner.h"

namespace deployrec {

// The item table, which all sessions of a bundle read in place.
struct ItemTable {
  std::string bytes;
  OrtOwned<OrtValue> value;
  int64_t num_items;
  ItemVectors vectors;  // the bytes, to the host
};

class OnnxRuntimeRunner final : public Runner {
 public:
  static Status read_table(std::shared_ptr<OnnxRuntime> runtime, const Bundle& bundle,
                           std::shared_ptr<ItemTable>* table);
  // Several runners over one session run side by side: `share` makes them.
  static Status load(std::shared_ptr<OnnxRuntime> runtime, const Bundle& bundle, Graph graph, const Options& options,
                     std::shared_ptr<ItemTable> table, std::unique_ptr<OnnxRuntimeRunner>* runner);
  std::unique_ptr<OnnxRuntimeRunner> share() const;

  const EngineShape& shape() const override { return shape_; }
  std::shared_ptr<const ItemVectors> item_vectors() const override {
    return {session_->table, &session_->table->vectors};
  }
  Status run(const EngineMemory& memory, const RunSize& size) override;

 private:
  struct Session {
    std::shared_ptr<OnnxRuntime> runtime;
    std::shared_ptr<ItemTable> table;
    OrtOwned<OrtSession> session;
  };
  struct Binding {
    EngineMemory memory;
    int64_t k;
    OrtOwned<OrtIoBinding> bound;
    std::vector<OrtOwned<OrtValue>> values;
  };
  using Size = std::array<int64_t, 4>;

  OnnxRuntimeRunner() = default;
  const OrtApi& api() const { return session_->runtime->api(); }
  Status bind(const EngineMemory& memory, const RunSize& size, Binding* binding) const;
  template <class Value>
  Status put(Binding* binding, const std::string& name, Value* memory, std::vector<int64_t> dims, bool is_input) const;

  std::shared_ptr<Session> session_;
  EngineShape shape_;
  std::vector<std::vector<int64_t>> dims_;  // of the states, without the batch
  std::map<Size, Binding> bindings_;
};

}  // namespace deployrec
