// The path loss of a training step (docs/residual.md): energies at both ends of short noising walks, whose difference the
// teacher's reverse kernels tell.
#include <algorithm>
#include <cmath>

#include "engine/network_run.h"
#include "kernels/common/cosine_basis.h"
#include "kernels/common/random.h"

namespace feynkac {
namespace {

// A pair is classified both ways, each energy over T: dloss/dr = w tanh(r / 2T) / T. With 2 T = 4 and w = 16 that is the
// slope of 32 ln cosh(r / 4).
constexpr double kTemperature = 2, kSlope = 16;

// Orthonormal cosines of each channel [channels, height, width].
class Cosines {
 public:
  explicit Cosines(const SampleShape& s) : s_(s), rows_(s.height * s.height), columns_(s.width * s.width) {
    cosineBasis(rows_.data(), s.height);
    cosineBasis(columns_.data(), s.width);
  }
  void apply(std::vector<double>& x) {
    std::vector<double> between(s_.height * s_.width);
    for (int c = 0; c < s_.channels; ++c) {
      double* image = x.data() + size_t(c) * s_.height * s_.width;
      for (int i = 0; i < s_.height; ++i)
        for (int v = 0; v < s_.width; ++v) {
          double sum = 0;
          for (int j = 0; j < s_.width; ++j) sum += double(columns_[v * s_.width + j]) * image[i * s_.width + j];
          between[i * s_.width + v] = sum;
        }
      for (int u = 0; u < s_.height; ++u)
        for (int v = 0; v < s_.width; ++v) {
          double sum = 0;
          for (int i = 0; i < s_.height; ++i) sum += double(rows_[u * s_.height + i]) * between[i * s_.width + v];
          image[u * s_.width + v] = sum;
        }
    }
  }

 private:
  const SampleShape s_;
  std::vector<float> rows_, columns_;
};

// x += std times the normals of step j of a walk; which rows are walked together changes nothing.
void addNormals(float* x, size_t d, double std, const TrainStep& step, int row, int j) {
  const size_t blocks = (d + 3) / 4;
  for (size_t i = 0; i < d; i += 4) {
    float z[4];
    normalsFrom(
        philox(step.seed, kWalk, step.step, static_cast<uint32_t>(row), static_cast<uint32_t>(j * blocks + i / 4)), z);
    for (size_t k = 0; k < 4 && i + k < d; ++k) x[i + k] += static_cast<float>(std * z[k]);
  }
}

}  // namespace

// Adds the gradient of weight times the mean of 32 ln cosh(r / 4), as far as it comes from walks begin .. end - 1, and fills
// their residuals
//   r = E(x_m, s_m) - E(x_0, s_0) - A - constant,
//   A = sum_j log N(x_(j-1); x_j + v_j (D(x_j) - x_j) / s_j^2, tau_j) - log N(x_j; x_(j-1), v_j),
//   v_j = s_j^2 - s_(j-1)^2,  tau_j = v_j (1 - v_j / (V(s_j) + s_j^2))  per group of coordinates,  D the teacher's.
void Network::walk(const TrainStep& step, int begin, int end, Network& teacher, const Stop& stop) {
  const WalkStep& w = *step.walks;
  const SampleShape shape = sampleShape(config_);
  const size_t d = sampleSize();
  const int labelled = labelDim(config_), perPass = std::max(1, step.microBatch / 2);
  Cosines cosines(shape);
  for (int first = begin; first < end; first += perPass) {
    const int samples = std::min(perPass, end - first), n = 2 * samples;
    const auto rowsOf = [&](const double* values) { return values + first; };
    std::vector<float> start(samples * d), x, next, denoised(samples * d);
    std::vector<double> want(samples), sigma(n), share(n), off(d);
    std::copy_n(step.x0 + first * d, samples * d, start.begin());
    for (int b = 0; b < samples; ++b) {
      const bool noised = step.states != nullptr && step.states[first + b] > 0;
      if (!noised) addNormals(&start[b * d], d, w.sigma[first + b], step, first + b, 0);
    }
    x = start;
    const float* labels = step.labels ? step.labels + size_t(first) * labelled : nullptr;
    for (int j = 1; j <= w.steps; ++j) {
      const double *from = rowsOf(w.sigma + (j - 1) * w.samples), *to = rowsOf(w.sigma + j * w.samples);
      next = x;
      for (int b = 0; b < samples; ++b)
        addNormals(&next[b * d], d, std::sqrt(to[b] * to[b] - from[b] * from[b]), step, first + b, j);
      Outputs out = {};
      out.denoised = denoised.data();
      teacher.evaluateHeld({Kind::kDenoiser, 1},
                           {samples, next.data(), to, labelDim(teacher.config_) > 0 ? labels : nullptr, nullptr},
                           nullptr, out, stop);
      for (int b = 0; b < samples; ++b) {
        const double s2 = to[b] * to[b], v = s2 - from[b] * from[b];
        const double* variances = w.variances + (size_t(j - 1) * w.samples + first + b) * w.groups;
        double a = 0;
        for (size_t i = 0; i < d; ++i) {
          const size_t at = b * d + i;
          const double moved = double(x[at]) - next[at];
          off[i] = moved - v * (double(denoised[at]) - next[at]) / s2;
          a += moved * moved / (2 * v);
        }
        if (w.cosines) cosines.apply(off);
        for (size_t i = 0; i < d; ++i) {
          const double left = 1 - v / (variances[w.group[i]] + s2);  // tau / v
          a -= off[i] * off[i] / (2 * v * left) + std::log(left) / 2;
        }
        want[b] += a;
      }
      x.swap(next);
    }

    Run& run = prepare(Job::kWalks, step.head.kind, n, 0, 2);
    Plan& plan = run.program.plan;
    setLevelWeight(run, w.weight * kSlope / kTemperature / w.samples);
    std::vector<float> twice;
    std::vector<double> free(n, 0.0), losses(n);
    std::vector<int32_t> truth(n);
    for (int b = 0; b < samples; ++b) {
      sigma[b] = w.sigma[w.steps * w.samples + first + b];
      sigma[samples + b] = w.sigma[first + b];
      share[b] = share[samples + b] = w.share[first + b];
      free[b] = (want[b] + w.constant[first + b]) / kTemperature;
      truth[samples + b] = 1;
    }
    if (labels)
      for (int k = 0; k < 2; ++k) twice.insert(twice.end(), labels, labels + size_t(samples) * labelled);
    upload(run, step.head, sigma.data(), labels ? twice.data() : nullptr, nullptr);
    uploadEnergyTerms(run, step.head, Levels(n, sigma.data(), preconditioning_), 1 / kTemperature, share.data());
    kernels_->upload(plan.at(run.free), free.data(), n * sizeof(double));
    kernels_->upload(plan.at(run.truth), truth.data(), n * sizeof(int32_t));
    kernels_->upload(plan.at(run.x), x.data(), samples * d * sizeof(float));
    kernels_->upload(plan.at(run.x) + samples * d, start.data(), samples * d * sizeof(float));
    plan.run(*kernels_, stop);
    // ln(1 + e^(r / T)) - ln(1 + e^(-r / T)) = r / T
    kernels_->download(losses.data(), plan.at(run.losses), n * sizeof(double));
    for (int b = 0; b < samples; ++b) w.residual[first + b] = kTemperature * (losses[b] - losses[samples + b]);
  }
}

}  // namespace feynkac
