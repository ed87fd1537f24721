// The particles that take part in a partial resampling, on the host.
#pragma once

#include <cstddef>
#include <cstdint>

namespace feynkac {

// The fewest of the largest and smallest of the normalised weights [n], as many of the small as bring the mean weight of those chosen down to
// that of all, such that the effective sample size comes to `share` of the particles if those chosen share their weight evenly. Writes their
// indices, ascending, to chosen (room for n) and returns how many they are. Of equal weights the earlier one is the smaller.
size_t extremes(int32_t* chosen, const double* weights, size_t n, double share);

}  // namespace feynkac
