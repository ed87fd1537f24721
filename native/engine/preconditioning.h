// EDM preconditioning of a batch (Karras et al. 2022, table 1): the factors of each sample, in the forms that keep their
// digits at small sigma. u = c_in x; G is what the network makes of u, R what it is to make.
#pragma once

#include <cmath>
#include <vector>

namespace feynkac {

class Levels {
 public:
  Levels(int n, const double* sigma, double sigmaData) : sigma_(sigma, sigma + n), sigmaData_(sigmaData) {}

  std::vector<float> cIn() const {
    return each([](double, double variance, double) { return 1.0 / std::sqrt(variance); });
  }
  std::vector<double> cNoise() const {
    std::vector<double> v;
    for (const double s : sigma_) v.push_back(std::log(s) / 4.0);
    return v;
  }
  // D = c_skip x + c_out G
  std::vector<float> cSkip() const {
    return each([](double, double variance, double sd) { return sd * sd / variance; });
  }
  std::vector<float> cOut() const { return each(outOf); }
  // R = (D - c_skip x) / c_out
  std::vector<float> residualOfDenoised() const {
    return each([](double s, double variance, double sd) { return 1.0 / outOf(s, variance, sd); });
  }
  std::vector<float> residualOfX() const {
    return each([](double s, double variance, double sd) { return -(sd * sd / variance) / outOf(s, variance, sd); });
  }
  // grad E = x / (sigma^2 + sd^2) - (c_out / sigma^2) G
  std::vector<float> gradOfX() const {
    return each([](double, double variance, double) { return 1.0 / variance; });
  }
  std::vector<float> gradOfG() const {
    return each([](double s, double variance, double sd) { return -outOf(s, variance, sd) / (s * s); });
  }
  // E = 1/2 ||u||^2 - (sd / sigma) Phi
  double energyOfXx(int i) const { return 0.5 / (sigma_[i] * sigma_[i] + sigmaData_ * sigmaData_); }
  double energyOfPhi(int i) const { return -sigmaData_ / sigma_[i]; }

 private:
  static double outOf(double s, double variance, double sd) { return s * sd / std::sqrt(variance); }
  template <class F>
  std::vector<float> each(const F& f) const {
    std::vector<float> v;
    for (const double s : sigma_) v.push_back(static_cast<float>(f(s, s * s + sigmaData_ * sigmaData_, sigmaData_)));
    return v;
  }

  std::vector<double> sigma_;
  double sigmaData_;
};

}  // namespace feynkac
