// Counter-based random numbers: Philox4x32-10 (Salmon et al. 2011). A number is a pure function of
// (seed, purpose, step, particle, index), so it does not depend on batch splits, threads or devices.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/common/host_device.h"

namespace feynkac {

// What a stream is for: two purposes never share numbers. Values are part of the file format (a resumed run draws the same
// numbers), so they are only ever added.
enum Purpose : uint32_t {
  kNoise = 1,       // training noise n
  kSigma = 2,       // training noise levels
  kDropLabel = 3,   // label dropout
  kData = 4,        // order of the data, flips
  kInit = 5,        // initial weights
  kStart = 6,       // initial particles
  kPropose = 7,     // SMC proposals and samplers
  kResample = 8,    // resampling uniforms
  kMoment = 9,      // MCMC momenta and proposals
  kAccept = 10,     // MCMC accept decisions
  kUser = 11,       // streams of the public API's callers
  kMixture = 12,    // draws of Gaussian mixtures
  kDropout = 13,    // dropout's masks; the layer's number is above its 8 bits
  kLatent = 14,     // noise on the latents in the training of autoencoders
  kCalibrate = 15,  // noise of calibrations
  kLevels = 16,     // noise levels that training classifies, and their noise
  kWalk = 17,       // noise levels and noise of the walks of the path loss
  kOwnStates = 18,  // which of the sampler's own states training takes, and their labels
  kOwnPaths = 19,   // noise of the paths that they come from
  kSharpened = 20,  // which rows of training have less noise than their level says, and how much less
};

struct Philox {
  uint32_t v[4];
};

FEYNKAC_HD Philox philox(uint64_t seed, uint32_t purpose, uint32_t step, uint32_t particle, uint32_t block) {
  uint32_t c0 = block, c1 = particle, c2 = step, c3 = purpose;
  uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53u} * c0, p1 = uint64_t{0xCD9E8D57u} * c2;
    const uint32_t h0 = static_cast<uint32_t>(p0 >> 32), l0 = static_cast<uint32_t>(p0);
    const uint32_t h1 = static_cast<uint32_t>(p1 >> 32), l1 = static_cast<uint32_t>(p1);
    c0 = h1 ^ c1 ^ k0;
    c1 = l1;
    c2 = h0 ^ c3 ^ k1;
    c3 = l0;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {{c0, c1, c2, c3}};
}

// Uniform in (0, 1), 52 bits from two words; never 0 or 1.
FEYNKAC_HD double uniformFrom(uint32_t a, uint32_t b) {
  return ((static_cast<uint64_t>(a) << 20 ^ b >> 12) + 0.5) * (1.0 / 4503599627370496.0);
}

// Two doubles in (0, 1) per block; number i of a stream is uniform(..., i / 2) [i % 2].
FEYNKAC_HD double uniformAt(uint64_t seed, uint32_t purpose, uint32_t step, uint32_t particle, uint32_t i) {
  const Philox p = philox(seed, purpose, step, particle, i / 2);
  return i % 2 ? uniformFrom(p.v[2], p.v[3]) : uniformFrom(p.v[0], p.v[1]);
}

// Whether dropout keeps a value: not below the rate, as a 24-bit uniform in [0, 1), which float32 holds exactly.
FEYNKAC_HD bool keeps(uint32_t word, float rate) {
  return static_cast<float>(word >> 8) * (1.0f / 16777216.0f) >= rate;
}

// Four standard normals from one block, by Box and Muller in float32: 24-bit uniforms in (0, 1].
FEYNKAC_HD void normalsFrom(const Philox& p, float out[4]) {
  for (int h = 0; h < 2; ++h) {
    const float u1 = (static_cast<float>(p.v[2 * h] >> 8) + 0.5f) * (1.0f / 16777216.0f);
    const float u2 = (static_cast<float>(p.v[2 * h + 1] >> 8) + 0.5f) * (1.0f / 16777216.0f);
    const float radius = sqrtf(-2.0f * logf(u1));
#if defined(__CUDA_ARCH__)  // the same up to rounding, without the slow path for large angles
    float sine, cosine;
    sincospif(2.0f * u2, &sine, &cosine);
#else
    const float angle = 6.28318530717958647692f * u2, sine = sinf(angle), cosine = cosf(angle);
#endif
    out[2 * h] = radius * cosine;
    out[2 * h + 1] = radius * sine;
  }
}

}  // namespace feynkac
