#include "host_particles.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "genealogy.h"
#include "host_memory.h"
#include "kernels/common/gaussian_mixture.h"
#include "kernels/common/random.h"
#include "kernels/common/resampling.h"
#include "log_weights.h"
#include "soft_box.h"

namespace feynkac {

void* HostParticleKernels::allocate(size_t bytes) { return allocateHost(bytes); }
void HostParticleKernels::release(void* memory) { freeHost(memory); }
void HostParticleKernels::upload(void* to, const void* hostFrom, size_t bytes) { std::memcpy(to, hostFrom, bytes); }
void HostParticleKernels::download(void* hostTo, const void* from, size_t bytes) { std::memcpy(hostTo, from, bytes); }

void HostParticleKernels::uniforms(double* out, const NormalKey& key, size_t rows, size_t d) {
  for (size_t r = 0; r < rows; ++r)
    for (size_t i = 0; i < d; ++i)
      out[r * d + i] =
          uniformAt(key.seed, key.purpose, key.step, key.first + static_cast<uint32_t>(r), static_cast<uint32_t>(i));
}

void HostParticleKernels::compose(double* energy, float* grad, double* squares, const Composition& c, size_t rows,
                                  size_t d) {
  std::vector<double> perRow;
  if (!c.mixture) {
    for (size_t r = 0; r < rows; ++r) {
      double u = 0;
      for (int j = 0; j < c.count; ++j)
        if (c.coefficients[j] != 0) u += c.coefficients[j] * c.energies[j][r];
      energy[r] = u;
    }
  } else {
    perRow.resize(rows * c.count);  // responsibilities: softmax over the models
    std::vector<double> l(c.count);
    for (size_t r = 0; r < rows; ++r) {
      for (int j = 0; j < c.count; ++j) l[j] = c.coefficients[j] - c.energies[j][r];
      const LogWeightStats s = feynkac::logWeightStats(l.data(), l.size());
      energy[r] = s.invalid >= 0 ? std::nan("") : -s.logSum;
      for (int j = 0; j < c.count; ++j) perRow[j * rows + r] = s.ess > 0 ? std::exp(l[j] - s.logSum) : 0;
    }
  }
  combine(grad, {c.grads, perRow.empty() ? c.coefficients : perRow.data(), c.count, !perRow.empty()}, 0, {}, rows, d);
  if (squares == nullptr) return;
  std::vector<double> one(rows);
  std::fill(squares, squares + rows, 0.0);
  const double unit = 1;
  for (int j = 0; j < c.count; ++j) {
    rowSquares(one.data(), {&c.grads[j], &unit, 1, false}, rows, d);
    for (size_t r = 0; r < rows; ++r) squares[r] += c.coefficients[j] * one[r];
  }
}

double HostParticleKernels::meanSquares(const float* g, const double* weights, size_t rows, size_t d) {
  std::vector<double> squares(rows);
  const double unit = 1;
  rowSquares(squares.data(), {&g, &unit, 1, false}, rows, d);
  return weightedSum(squares.data(), weights, rows) / static_cast<double>(d);
}

double weightedSum(const double* values, const double* weights, size_t n) {
  double sum = 0;
  for (size_t i = 0; i < n; ++i)
    if (weights[i] > 0) sum += weights[i] * values[i];
  return sum;
}

void HostParticleKernels::softBox(double* energy, float* grad, const float* x, const double* lower, const double* upper,
                                  double t, size_t rows, size_t d) {
  feynkac::softBox(energy, grad, x, lower, upper, t, rows, d);
}

void HostParticleKernels::mixtureEnergy(double* energy, float* grad, const float* x, double sigma,
                                        const GaussianMixture& mixture, size_t rows) {
  feynkac::mixtureEnergy(energy, grad, x, sigma, mixture, rows);
}

void HostParticleKernels::mixtureSample(float* out, const GaussianMixture& mixture, uint64_t seed, size_t rows) {
  feynkac::mixtureSample(out, mixture, seed, rows);
}

void HostParticleKernels::sumTerms(double* out, const double* const* terms, const double* coefficients, int count,
                                   double constant, size_t rows) {
  for (size_t r = 0; r < rows; ++r) {
    double sum = constant;
    for (int j = 0; j < count; ++j) sum += coefficients[j] * terms[j][r];
    out[r] = sum;
  }
}

LogWeightStats HostParticleKernels::logWeightStats(const double* lw, size_t n) {
  return feynkac::logWeightStats(lw, n);
}

LogWeightStats HostParticleKernels::reweight(double* lw, double* weights, const double* const* terms,
                                             const double* coefficients, int count, double constant, size_t n) {
  return feynkac::reweight(lw, weights, terms, coefficients, count, constant, n);
}

void HostParticleKernels::resample(int32_t* ancestors, size_t n, Scheme scheme, const double* weights, size_t count,
                                   const Uniforms& uniforms) {
  feynkac::resample(ancestors, n, scheme, weights, count, uniforms);
}

size_t HostParticleKernels::countDistinct(const int32_t* ancestors, size_t n, size_t count) {
  return feynkac::countDistinct(ancestors, n, count);
}

bool HostParticleKernels::areInRange(const int32_t* ancestors, size_t n, size_t count) {
  return std::all_of(ancestors, ancestors + n, [=](int32_t a) { return a >= 0 && static_cast<size_t>(a) < count; });
}

size_t HostParticleKernels::metropolis(uint8_t* accepted, const double* logRatio, const NormalKey& key, size_t rows) {
  size_t count = 0;
  for (size_t r = 0; r < rows; ++r) {
    accepted[r] =
        std::log(uniformAt(key.seed, key.purpose, key.step, key.first + static_cast<uint32_t>(r), 0)) < logRatio[r];
    count += accepted[r];
  }
  return count;
}

void HostParticleKernels::copyAccepted(void* out, const void* in, const uint8_t* accepted, size_t rows, size_t bytes) {
  for (size_t r = 0; r < rows; ++r)
    if (accepted[r]) std::memcpy(static_cast<char*>(out) + r * bytes, static_cast<const char*>(in) + r * bytes, bytes);
}

}  // namespace feynkac
