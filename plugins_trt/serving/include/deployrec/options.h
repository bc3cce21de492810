// What a Recommender is loaded from and how it keeps its users.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace deployrec {

// How the arena stores states. fp16 halves the memory; the arithmetic stays fp32, and so do counts of events.
enum class StateStorage : int32_t { kFloat32, kFloat16 };

// What a new user meets where every slot is taken.
enum class Eviction : int32_t { kRefuse, kLeastRecentlyUsed };

// Where ONNX Runtime runs the graphs.
enum class Provider : int32_t { kCpu, kCuda, kTensorRt };

struct Options {
  std::string bundle;  // a bundle's folder: its ONNX graphs run on ONNX Runtime, unless `plans` is set
  std::string plans;   // folder of a bundle's TensorRT plans, BUNDLE/engine

  // Each graph holds the model's weights in memory. A call whose graph was left out answers kMissingPlan.
  bool step = true;
  bool advance = true;
  bool encode = true;
  bool score = true;

  int64_t max_users = 100000;    // slots of the arena
  Eviction eviction = Eviction::kRefuse;
  double time_to_live = 0;       // seconds after which an idle user's state is dropped; 0: never
  StateStorage storage = StateStorage::kFloat32;
  std::optional<bool> exclude_seen;  // lists leave out what the user has seen, beside what a call names; unset: as the
                                     // bundle says, and where there are plans alone they do
  int64_t max_exclude = 512;     // items that a list leaves out; of more the newest count
  int lanes = 1;                 // batches of different users in flight at once; each lane has buffers of its own

  // ONNX Runtime
  Provider provider = Provider::kCpu;
  int threads = 1;               // of each run; 0: as many as there are cores
  int64_t max_batch = 512;       // rows of a run
  std::string onnxruntime_library;  // empty: the one found at build time, or the system's

  // TensorRT
  std::string plugin_library;    // path of libdeployrec_plugin.so; empty: none is needed, or it is loaded already
  bool allow_host_code = false;  // plans may hold libraries, which are run: build engine --carry-plugin
  std::vector<int64_t> batches;  // a CUDA graph for each and each k; empty: powers of two up to the plan's largest batch
  int device = 0;                // of CUDA, also for ONNX Runtime's providers
  void* stream = nullptr;        // cudaStream_t of the caller's, which the first lane uses; null: one of its own

  // Is told, one line at a time and from the calling thread, of what happens beside the calls' own answers.
  std::function<void(const std::string& line)> log;
};

}  // namespace deployrec
