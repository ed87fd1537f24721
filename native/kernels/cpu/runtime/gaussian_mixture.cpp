#include "kernels/common/gaussian_mixture.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <vector>

#include "kernels/common/random.h"
#include "parallel.h"

namespace feynkac {
namespace {

constexpr double kLogTwoPi = 1.8378770664093454836;

// The components at one noise level: their log densities and gradients.
class Level : private MixtureLevel {
 public:
  Level(const GaussianMixture& mixture, double sigma) : MixtureLevel(mixture, sigma), m_(mixture) {}

  // log w_c N(x; ...); y [d] is left as L^-1 (x - mean)
  double logDensity(double* y, const float* x, size_t c) const {
    const size_t d = m_.d;
    const double* mean = m_.means + c * d;
    double squares = 0;
    if (m_.form == CovarianceForm::kFull) {
      const double* l = &factor[c * d * d];
      for (size_t i = 0; i < d; ++i) {
        double v = x[i] - mean[i];
        for (size_t j = 0; j < i; ++j) v -= l[i * d + j] * y[j];
        y[i] = v / l[i * d + i];
        squares += y[i] * y[i];
      }
    } else {
      const bool scalar = m_.form == CovarianceForm::kScalar;
      const double* f = &factor[scalar ? c : c * d];
      for (size_t i = 0; i < d; ++i) {
        y[i] = (x[i] - mean[i]) * f[scalar ? 0 : i];
        squares += y[i] * y[i];
      }
    }
    return logNormal[c] - 0.5 * squares;
  }

  // g += r L^-T y; y is overwritten
  void addGradient(double* g, double* y, double r, size_t c) const {
    const size_t d = m_.d;
    if (m_.form == CovarianceForm::kFull) {
      const double* l = &factor[c * d * d];
      for (size_t i = d; i-- > 0;) {
        y[i] /= l[i * d + i];
        for (size_t j = 0; j < i; ++j) y[j] -= l[i * d + j] * y[i];
        g[i] += r * y[i];
      }
    } else {
      const bool scalar = m_.form == CovarianceForm::kScalar;
      const double* f = &factor[scalar ? c : c * d];
      for (size_t i = 0; i < d; ++i) g[i] += r * y[i] * f[scalar ? 0 : i];
    }
  }

 private:
  const GaussianMixture& m_;
};

}  // namespace

bool cholesky(double* a, size_t d, double floor) {
  for (size_t j = 0; j < d; ++j) {
    double pivot = a[j * d + j];
    for (size_t k = 0; k < j; ++k) pivot -= a[j * d + k] * a[j * d + k];
    if (!(pivot > -floor) || (floor == 0 && !(pivot > 0))) return false;
    const double root = pivot > floor ? std::sqrt(pivot) : 0;
    a[j * d + j] = root;
    for (size_t i = j + 1; i < d; ++i) {
      double v = a[i * d + j];
      for (size_t k = 0; k < j; ++k) v -= a[i * d + k] * a[j * d + k];
      if (root == 0 && std::fabs(v) > std::sqrt(floor)) return false;
      a[i * d + j] = root > 0 ? v / root : 0;
    }
  }
  return true;
}

MixtureLevel::MixtureLevel(const GaussianMixture& m, double sigma) : logNormal(m.components) {
  const size_t d = m.d;
  const double s2 = sigma * sigma;
  const size_t size = m.form == CovarianceForm::kScalar ? 1 : m.form == CovarianceForm::kDiagonal ? d : d * d;
  factor.assign(m.covariances, m.covariances + m.components * size);
  for (size_t c = 0; c < m.components; ++c) {
    double* f = &factor[c * size];
    double logDet = 0;
    bool positive = true;
    if (m.form == CovarianceForm::kFull) {
      for (size_t i = 0; i < d; ++i) f[i * d + i] += s2;
      positive = cholesky(f, d, 0);
      for (size_t i = 0; i < d; ++i) logDet += 2 * std::log(f[i * d + i]);
    } else {
      for (size_t i = 0; i < size; ++i) {
        positive &= f[i] + s2 > 0;
        logDet += std::log(f[i] + s2) * (size == 1 ? static_cast<double>(d) : 1);
        f[i] = 1 / std::sqrt(f[i] + s2);
      }
    }
    if (!positive) throw std::invalid_argument("expected positive definite covariances (plus sigma^2) for the mixture");
    logNormal[c] = m.logWeights[c] - 0.5 * (logDet + static_cast<double>(d) * kLogTwoPi);
  }
}

std::vector<double> choleskyFactors(const GaussianMixture& mixture) {
  const size_t d = mixture.d;
  std::vector<double> factor(mixture.covariances, mixture.covariances + mixture.components * d * d);
  for (size_t c = 0; c < mixture.components; ++c) {
    double trace = 0;
    for (size_t i = 0; i < d; ++i) trace += factor[c * d * d + i * d + i];
    if (!cholesky(&factor[c * d * d], d, 1e-12 * trace + 1e-300))
      throw std::invalid_argument("expected positive semidefinite covariances for the mixture");
  }
  return factor;
}

void mixtureEnergy(double* energy, float* grad, const float* x, double sigma, const GaussianMixture& mixture,
                   size_t rows) {
  const Level level(mixture, sigma);
  const size_t d = mixture.d, components = mixture.components;
  forPieces(rows, std::max<size_t>(1, 4096 / (d * components)), [&](size_t first, size_t last) {
    std::vector<double> y(d), g(d), logp(components);
    for (size_t r = first; r < last; ++r) {
      const float* xr = x + r * d;
      double most = -HUGE_VAL, total = 0;
      for (size_t c = 0; c < components; ++c) most = std::max(most, logp[c] = level.logDensity(y.data(), xr, c));
      for (const double l : logp) total += std::exp(l - most);
      energy[r] = -(most + std::log(total));
      std::fill(g.begin(), g.end(), 0.0);
      for (size_t c = 0; c < components; ++c) {
        const double responsibility = std::exp(logp[c] - most) / total;
        if (responsibility < 1e-20) continue;
        if (components > 1) level.logDensity(y.data(), xr, c);  // y of this component again
        level.addGradient(g.data(), y.data(), responsibility, c);
      }
      for (size_t i = 0; i < d; ++i) grad[r * d + i] = static_cast<float>(g[i]);
    }
  });
}

void mixtureSample(float* out, const GaussianMixture& mixture, uint64_t seed, size_t rows) {
  const size_t d = mixture.d;
  const bool full = mixture.form == CovarianceForm::kFull;
  const std::vector<double> factor = full ? choleskyFactors(mixture) : std::vector<double>();
  forPieces(rows, std::max<size_t>(1, 4096 / d), [&](size_t first, size_t last) {
    std::vector<float> z((d + 3) / 4 * 4);
    for (size_t r = first; r < last; ++r) {
      const auto particle = static_cast<uint32_t>(r);
      double u = uniformAt(seed, kMixture, 0, particle, 0);
      size_t c = 0;
      while (c + 1 < mixture.components && (u -= std::exp(mixture.logWeights[c])) >= 0) ++c;
      for (size_t i = 0; i < d; i += 4)
        normalsFrom(philox(seed, kMixture, 1, particle, static_cast<uint32_t>(i / 4)), &z[i]);
      for (size_t i = 0; i < d; ++i) {
        double v = 0;
        if (full)
          for (size_t j = 0; j <= i; ++j) v += factor[(c * d + i) * d + j] * z[j];
        else
          v = std::sqrt(mixture.covariances[mixture.form == CovarianceForm::kScalar ? c : c * d + i]) * z[i];
        out[r * d + i] = static_cast<float>(mixture.means[c * d + i] + v);
      }
    }
  });
}

}  // namespace feynkac
