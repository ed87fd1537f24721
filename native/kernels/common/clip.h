// Clipping of gradients by their global norm.
#pragma once

#include <cmath>

#include "kernels/common/host_device.h"

namespace feynkac {

// What a gradient with this sum of squares is multiplied by: min(1, clip / norm); 1 where clip is 0.
FEYNKAC_HD float clipScale(double sumsq, double clip) {
  const double norm = sqrt(sumsq);
  return clip > 0 && norm > clip ? static_cast<float>(clip / norm) : 1.0f;
}

}  // namespace feynkac
