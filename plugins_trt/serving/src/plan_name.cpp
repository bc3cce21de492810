#include "plan_name.h"

#include <sstream>

namespace deployrec {

bool parse_plan_name(const std::string& name, EngineShape* shape) {
  std::istringstream fields(name);
  std::string maker, beyond;
  int version = 0;
  if (!(fields >> maker >> version) || maker != "deployrec" || version != 1) return false;
  if (!(fields >> shape->bundle_id >> shape->state_id >> shape->num_items >> shape->window)) return false;
  return shape->num_items >= 1 && shape->window >= 0 && !(fields >> beyond);
}

}  // namespace deployrec
