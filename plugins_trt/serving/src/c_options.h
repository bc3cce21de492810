// Options as texts by name.
#pragma once

#include <string>

#include "deployrec/options.h"
#include "deployrec/status.h"

struct deployrec_options {
  deployrec::Options options;
};

namespace deployrec {

// kInvalidArgument for a name that no option has, and for a value that it does not take.
Status set_option(Options* options, const std::string& name, const std::string& value);

}  // namespace deployrec
