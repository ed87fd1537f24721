// How a denoiser is made of a network (Karras et al. 2022, table 1): u = c_in x, D = c_skip x + c_out G, where G is what
// the network makes of u and c_noise; and the factors of each sample of a batch, in forms that keep their digits.
#pragma once

#include <cstddef>
#include <vector>

namespace feynkac {

// a^2 = 1 + sigma^2 is that of variance-preserving models: x_vp = x / a (docs/noise-schedules.md)
enum class Form {
  kEdm,      // c_skip = sd^2/v, c_out = sigma sd/sqrt(v), c_in = 1/sqrt(v), v = sigma^2 + sd^2
  kEpsilon,  // 1, -sigma, 1/a: the network predicts the noise
  kV,        // 1/a^2, -sigma/a, 1/a: v = alpha noise - sigma_vp x0
  kSample,   // 0, 1, 1/a: the network predicts the clean sample
  kVe,       // 1, sigma, 1: score times sigma
};

// c_noise of sigma.
struct NoiseCondition {
  enum Rule {
    kLog,       // scale ln(sigma) + offset
    kTable,     // times at sigmas (increasing), linear in ln(sigma) between them
    kNearest,   // the time of the nearest of sigmas
    kVariance,  // (steps - 1) t with sigma^2 = exp(betaD t^2 / 2 + betaMin t) - 1: EDM's VPPrecond
  } rule = kLog;
  double scale = 0.25, offset = 0;
  std::vector<double> sigmas, times;
  double betaD = 0, betaMin = 0, steps = 0;

  double at(double sigma) const;
  bool operator==(const NoiseCondition& other) const;
};

struct Preconditioning {
  Form form = Form::kEdm;
  double sigmaData = 0.5;
  NoiseCondition noise;
  bool operator==(const Preconditioning& other) const;
};

// The factors of one noise level.
struct Level {
  double skip, out, in;
  double xOfGrad;  // (1 - c_skip) / sigma^2
};
Level levelOf(const Preconditioning& p, double sigma);

class Levels {  // as long as its preconditioning lives
 public:
  Levels(int n, const double* sigma, const Preconditioning& p) : sigma_(sigma, sigma + n), p_(p) {
    for (const double s : sigma_) levels_.push_back(levelOf(p, s));
  }

  std::vector<float> cIn() const {
    return each([](const Level& l, double) { return l.in; });
  }
  std::vector<double> cNoise() const;
  // D = c_skip x + c_out G
  std::vector<float> cSkip() const {
    return each([](const Level& l, double) { return l.skip; });
  }
  std::vector<float> cOut() const {
    return each([](const Level& l, double) { return l.out; });
  }
  // R = (D - c_skip x) / c_out is what G is to be
  std::vector<float> residualOfDenoised() const {
    return each([](const Level& l, double) { return 1 / l.out; });
  }
  std::vector<float> residualOfX() const {
    return each([](const Level& l, double) { return -l.skip / l.out; });
  }
  // grad E = (x - D) / sigma^2 = (1 - c_skip) / sigma^2 x - c_out / sigma^2 G
  std::vector<float> gradOfX() const {
    return each([](const Level& l, double) { return l.xOfGrad; });
  }
  std::vector<float> gradOfG() const {
    return each([](const Level& l, double s) { return -l.out / (s * s); });
  }
  // E = (1 - c_skip) / (2 sigma^2) ||x||^2 - c_out / (sigma^2 c_in) Phi
  double energyOfXx(int i) const { return 0.5 * levels_[i].xOfGrad; }
  double energyOfPhi(int i) const { return -levels_[i].out / (sigma_[i] * sigma_[i] * levels_[i].in); }

  // The residual head (docs/residual.md): r = (x - D_h) / sigma = rOfU u + rOfH h
  double rOfU(int i) const { return sigma_[i] * levels_[i].xOfGrad / levels_[i].in; }
  double rOfH(int i) const { return -levels_[i].out / sigma_[i]; }
  // grad_u Phi = p u + w h + J^T (w u - k h) of that head; w u - k h = sigma c_in r
  double phiGradOfU(int i) const {  // p = w c_skip / k
    return phiGradOfH(i) * levels_[i].skip / phiCurvature(i);
  }
  double phiGradOfH(int i) const { return sigma_[i] * sigma_[i] * levels_[i].xOfGrad; }  // w = 1 - c_skip
  double phiCurvature(int i) const { return levels_[i].in * levels_[i].out; }            // k
  double seedOfR(int i) const { return sigma_[i] * levels_[i].in; }

 private:
  template <class F>
  std::vector<float> each(const F& f) const {
    std::vector<float> v;
    for (std::size_t i = 0; i < sigma_.size(); ++i) v.push_back(static_cast<float>(f(levels_[i], sigma_[i])));
    return v;
  }

  std::vector<double> sigma_;
  const Preconditioning& p_;
  std::vector<Level> levels_;
};

}  // namespace feynkac
