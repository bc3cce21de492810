// Whole files in one read.
#pragma once

#include <string>

namespace deployrec {

// False for anything but a regular file that can be read to its end.
bool read_file(const std::string& path, std::string* bytes);

}  // namespace deployrec
