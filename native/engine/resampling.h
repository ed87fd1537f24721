// Resampling: ancestors drawn so that the expected number of offspring of particle i is n W_i. The uniforms are
// consumed as in the Python package `particles`, so that given uniforms give the same ancestors; unlike there, ties and
// the end of the cumulative sum are safe: an ancestor never has weight zero and is always in range.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace feynkac {

enum class Scheme { kSystematic, kStratified, kMultinomial, kResidual, kSsp, kKilling };

Scheme schemeOf(const char* name);  // throws std::invalid_argument

// Numbers in [0, 1): given ones in order, or those of random.h for (seed, kResample, step).
class Uniforms {
 public:
  Uniforms(const double* values, size_t count) : given_(true), values_(values), count_(count) {}
  Uniforms(uint64_t seed, uint32_t step) : seed_(seed), step_(step) {}
  double at(size_t i) const;  // throws std::invalid_argument behind the last given one
  std::vector<double> range(size_t from, size_t n) const;

 private:
  bool given_ = false;  // an empty array has no address
  const double* values_ = nullptr;
  size_t count_ = 0;
  uint64_t seed_ = 0;
  uint32_t step_ = 0;
};

// ancestors [n]. weights [count]: finite, not negative, with a positive sum; normalised here where the sum is not 1 up to rounding.
// kKilling needs n == count. Throws std::invalid_argument.
void resample(int32_t* ancestors, size_t n, Scheme scheme, const double* weights, size_t count,
              const Uniforms& uniforms);

}  // namespace feynkac
