#include "engine/preconditioning.h"

#include <algorithm>
#include <cmath>
#include <tuple>

namespace feynkac {

double NoiseCondition::at(double sigma) const {
  if (rule == kLog) return scale * std::log(sigma) + offset;
  if (rule == kVariance) {
    const double log = std::log1p(sigma * sigma);  // the root t, free of cancellation
    return (steps - 1) * 2 * log / (std::sqrt(betaMin * betaMin + 2 * betaD * log) + betaMin);
  }
  const auto above = std::lower_bound(sigmas.begin(), sigmas.end(), sigma);
  if (above == sigmas.begin()) return times.front();
  if (above == sigmas.end()) return times.back();
  const auto i = above - sigmas.begin();
  const double low = sigmas[i - 1], high = sigmas[i];
  if (rule == kNearest) return sigma - low < high - sigma ? times[i - 1] : times[i];
  const double part = std::log(sigma / low) / std::log(high / low);
  return times[i - 1] + part * (times[i] - times[i - 1]);
}

bool NoiseCondition::operator==(const NoiseCondition& o) const {
  const auto all = [](const NoiseCondition& c) {
    return std::tie(c.rule, c.scale, c.offset, c.sigmas, c.times, c.betaD, c.betaMin, c.steps);
  };
  return all(*this) == all(o);
}

bool Preconditioning::operator==(const Preconditioning& o) const {
  return std::tie(form, sigmaData, noise) == std::tie(o.form, o.sigmaData, o.noise);
}

Level levelOf(const Preconditioning& p, double sigma) {
  const double a2 = 1 + sigma * sigma, a = std::sqrt(a2);
  switch (p.form) {
    case Form::kEpsilon:
      return {1, -sigma, 1 / a, 0};
    case Form::kV:
      return {1 / a2, -sigma / a, 1 / a, 1 / a2};
    case Form::kSample:
      return {0, 1, 1 / a, 1 / (sigma * sigma)};
    case Form::kVe:
      return {1, sigma, 1, 0};
    default:
      break;
  }
  const double sd = p.sigmaData, variance = sigma * sigma + sd * sd;
  return {sd * sd / variance, sigma * sd / std::sqrt(variance), 1 / std::sqrt(variance), 1 / variance};
}

std::vector<double> Levels::cNoise() const {
  std::vector<double> v;
  for (const double s : sigma_) v.push_back(p_.noise.at(s));
  return v;
}

}  // namespace feynkac
