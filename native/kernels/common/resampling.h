// Resampling: ancestors drawn so that the expected number of offspring of particle i is n W_i. The uniforms are
// consumed as in the Python package `particles`, so that given uniforms give the same ancestors; unlike there, ties and
// the end of the cumulative sum are safe: an ancestor never has weight zero and is always in range.
#pragma once

#include "particles.h"

namespace feynkac {

Scheme schemeOf(const char* name);  // throws std::invalid_argument

// As ParticleKernels::resample, on the host.
void resample(int32_t* ancestors, size_t n, Scheme scheme, const double* weights, size_t count,
              const Uniforms& uniforms);

}  // namespace feynkac
