// What a graph's ONNX file says of numbers that lie in other files.
#pragma once

#include <string>
#include <vector>

namespace deployrec {

// Names of the initializers whose numbers are not in the file (https://onnx.ai/onnx/repo-docs/IR.html): of a bundle's
// graph the item table. False for bytes that are no protobuf.
bool external_initializers(const std::string& bytes, std::vector<std::string>* names);

}  // namespace deployrec
