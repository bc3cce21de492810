// What a plan says of its bundle: its network's name is "deployrec 1 BUNDLE_ID STATE_ID NUM_ITEMS WINDOW".
#pragma once

#include <string>

#include "runner.h"

namespace deployrec {

// Fills in the shape's ids, num_items and window; false for a name that `deployrec build engine` did not write.
bool parse_plan_name(const std::string& name, EngineShape* shape);

}  // namespace deployrec
