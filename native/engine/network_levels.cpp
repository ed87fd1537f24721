// The cross-entropy over noise levels of a training step (docs/levelled.md).
#include <algorithm>

#include "engine/network_run.h"
#include "kernels/common/random.h"

namespace feynkac {

void Network::setLevelWeight(Run& run, double weight) {
  if (run.levelWeight == weight) return;
  run.levelWeight = weight;
  run.program.plan.changed();
}

// The energies of the run are `scale` times E; their derivatives by h are those of E times the share of each row.
void Network::uploadEnergyTerms(Run& run, const Head& head, const Levels& levels, double scale, const double* share) {
  const int n = run.batch;
  std::vector<double> a(n), b(n), slope(n);
  for (int i = 0; i < n; ++i) {
    const EnergyTerms terms = energyTerms(levels, head, i);
    a[i] = scale * terms.ofXx;
    b[i] = scale * terms.ofSum;
    slope[i] = share != nullptr ? share[i] * terms.slope : terms.slope;
  }
  Plan& plan = run.program.plan;
  kernels_->upload(plan.at(run.energyA), a.data(), n * sizeof(double));
  kernels_->upload(plan.at(run.energyB), b.data(), n * sizeof(double));
  kernels_->upload(plan.at(run.slope), slope.data(), n * sizeof(double));
}

// Adds the gradient of weight times the mean cross-entropy, as far as it comes from samples begin .. end - 1; `losses` [samples]
// and `residual` [levels, samples] are device memory.
void Network::classify(const TrainStep& step, int begin, int end, double* losses, double* residual, const Stop& stop) {
  const LevelStep& l = *step.levels;
  const size_t d = sampleSize();
  const int perPass = std::max(1, step.microBatch / l.levels);
  for (int first = begin; first < end; first += perPass) {
    const int samples = std::min(perPass, end - first), n = l.levels * samples;
    Run& run = prepare(Job::kLevels, step.head.kind, n, 0, l.levels);
    Plan& plan = run.program.plan;
    setLevelWeight(run, l.weight / l.samples);
    std::vector<double> sigma(n), free(n);
    std::vector<float> drawn(samples);
    for (int j = 0; j < l.levels; ++j) {
      std::copy_n(l.sigma + j * l.samples + first, samples, sigma.begin() + j * samples);
      std::copy_n(l.free + j * l.samples + first, samples, free.begin() + j * samples);
    }
    for (int s = 0; s < samples; ++s)
      drawn[s] = static_cast<float>(l.sigma[l.truth[first + s] * l.samples + first + s]);
    const Levels levels(n, sigma.data(), preconditioning_);
    upload(run, step.head, sigma.data(), nullptr, nullptr);
    uploadEnergyTerms(run, step.head, levels, 1, nullptr);
    kernels_->upload(plan.at(run.free), free.data(), n * sizeof(double));
    kernels_->upload(plan.at(run.truth), l.truth + first, samples * sizeof(int32_t));
    kernels_->upload(plan.at(run.staging), step.x0 + first * d, samples * d * sizeof(float));
    kernels_->upload(plan.at(run.coefficientA), drawn.data(), samples * sizeof(float));
    float* x = plan.at(run.x);
    kernels_->run(op::AddNoise{x, plan.at(run.staging), plan.at(run.coefficientA), step.seed, kLevels, step.step,
                               static_cast<uint32_t>(first), samples, d});
    for (int j = 1; j < l.levels; ++j) kernels_->copy(x + j * samples * d, x, samples * d * sizeof(float));
    plan.run(*kernels_, stop);
    kernels_->copy(losses + first, plan.at(run.losses), samples * sizeof(double));
    for (int j = 0; j < l.levels; ++j)
      kernels_->copy(residual + j * l.samples + first, plan.at<double>(run.residual) + j * samples,
                     samples * sizeof(double));
  }
}

}  // namespace feynkac
