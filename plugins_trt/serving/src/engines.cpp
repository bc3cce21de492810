#include "engines.h"

namespace deployrec {
namespace {

#if !defined(DEPLOYREC_WITH_TENSORRT) || !defined(DEPLOYREC_WITH_ONNXRUNTIME)
Status left_out(const char* engine, const char* needs) {
  return {StatusCode::kWrongEngine, std::string("expected a build of deployrec::serving with ") + engine +
                                        "; got one without; build it where " + needs};
}
#endif

Status check(const Options& options) {
  if (options.bundle.empty() && options.plans.empty()) {
    return {StatusCode::kInvalidArgument,
            "expected Options::bundle or Options::plans; got neither; name a bundle's folder"};
  }
  if (options.lanes < 1 || options.max_batch < 1 || options.threads < 0) {
    return {StatusCode::kInvalidArgument, "expected lanes and max_batch of at least 1 and threads of at least 0; got " +
                                              std::to_string(options.lanes) + ", " + std::to_string(options.max_batch) +
                                              " and " + std::to_string(options.threads) + "; the defaults are 1, 512, 1"};
  }
  return {};
}

}  // namespace

std::vector<Graph> wanted_graphs(const Options& options) {
  std::vector<Graph> graphs;
  if (options.step) graphs.push_back(Graph::kStep);
  if (options.advance) graphs.push_back(Graph::kAdvance);
  if (options.encode) graphs.push_back(Graph::kEncode);
  if (options.score) graphs.push_back(Graph::kScore);
  return graphs;
}

Status open_engines(const Options& options, std::vector<Engines>* lanes) {
  Status status = check(options);
  if (!status.ok()) return status;
  lanes->resize(static_cast<size_t>(options.lanes));
  if (!options.plans.empty()) {
#if defined(DEPLOYREC_WITH_TENSORRT)
    return open_tensorrt_engines(options, lanes);
#else
    return left_out("TensorRT", "CMake finds nvcc and NvInfer.h, or set Options::bundle alone");
#endif
  }
#if defined(DEPLOYREC_WITH_ONNXRUNTIME)
  return open_onnxruntime_engines(options, lanes);
#else
  return left_out("ONNX Runtime", "CMake finds onnxruntime_c_api.h, nlohmann_json and OpenSSL");
#endif
}

}  // namespace deployrec
