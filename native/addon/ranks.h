// The processes that work with this one (ranks/communicator.h), for the jobs of networks.
#pragma once

#include <napi.h>

#include "engine/trainable.h"

namespace feynkac::addon {

// How a training request is shared: not, or among the ranks where it has `shared`.
Share shareOf(const Napi::Object& request);

}  // namespace feynkac::addon
