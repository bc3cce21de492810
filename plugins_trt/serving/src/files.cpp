#include "files.h"

#include <filesystem>
#include <fstream>

namespace deployrec {

bool read_file(const std::string& path, std::string* bytes) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) return false;
  const uintmax_t size = std::filesystem::file_size(path, error);
  std::ifstream file(path, std::ios::binary);
  if (error || !file) return false;
  bytes->resize(static_cast<size_t>(size));
  file.read(bytes->data(), static_cast<std::streamsize>(size));
  return static_cast<bool>(file);
}

}  // namespace deployrec
