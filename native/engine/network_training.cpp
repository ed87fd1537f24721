// The training step, and the gradient of one explicit batch.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <stdexcept>

#include "engine/network_run.h"
#include "kernels/common/random.h"

namespace feynkac {

double Network::gradient(const Head& head, const Batch& batch, const float* target, const Stop& stop) {
  const std::lock_guard<std::mutex> lock(mutex_);
  stop.check();
  makeReady();
  const int n = batch.n;
  const size_t bytes = n * sampleSize() * sizeof(float);
  kernels_->zero(slot(Slot::kGrad), parameters_.engineSize() * sizeof(float));
  Run& run = prepare(Job::kTrain, head.kind, n);
  Plan& plan = run.program.plan;
  upload(run, head, batch.sigma, batch.labels, batch.augment);
  kernels_->upload(plan.at(run.x), batch.x, bytes);
  kernels_->upload(plan.at(run.staging), target, bytes);
  setTarget(run, Levels(n, batch.sigma, preconditioning_));
  setLoss(run, head, 1.0 / (double(n) * sampleSize()));
  plan.run(*kernels_, stop);
  std::vector<double> losses(n);
  const auto sumOf = [&](Buffer from) {
    kernels_->download(losses.data(), plan.at(from), n * sizeof(double));
    return std::accumulate(losses.begin(), losses.end(), 0.0);
  };
  double loss = sumOf(run.losses);
  if (head.kind == Kind::kJoint) loss += head.energyWeight * sumOf(run.energyLosses);
  return loss / (double(n) * sampleSize());
}

// target = R of the denoised images in `staging`, channels last
void Network::setTarget(Run& run, const Levels& levels) {
  Plan& plan = run.program.plan;
  const auto a = levels.residualOfDenoised(), b = levels.residualOfX();
  kernels_->upload(plan.at(run.coefficientA), a.data(), a.size() * sizeof(float));
  kernels_->upload(plan.at(run.coefficientB), b.data(), b.size() * sizeof(float));
  const SampleShape s = sampleShape(config_);
  kernels_->run(op::ToChannelsLast{plan.at(run.target), plan.at(run.coefficientA), plan.at(run.staging),
                                   plan.at(run.coefficientB), plan.at(run.x), run.batch, s.channels,
                                   s.height * s.width});
}

// target = h(c_in x), channels last; target and x are the caller's, on the same device
void Network::forwardInto(float* target, Kernels& caller, const Head& head, int n, const float* x, const double* sigma,
                          const float* labels, const Stop& stop) {
  kernels_->after(caller.context());
  Run& run = prepare(Job::kForward, Kind::kDenoiser, n);
  Plan& plan = run.program.plan;
  upload(run, head, sigma, labels, nullptr);
  kernels_->copy(plan.at(run.x), x, n * sampleSize() * sizeof(float));
  plan.run(*kernels_, stop);
  kernels_->copy(target, plan.at(run.program.x(run.ports.output)), n * sampleSize() * sizeof(float));
  kernels_->before(caller.context());
}

TrainResult Network::train(const TrainStep& step, Network* teacher, const Stop& stop) {
  if (teacher == this)
    throw std::invalid_argument("the teacher and the student are the same network: load the teacher a second time");
  std::unique_lock<std::mutex> lock(mutex_, std::defer_lock), teacherLock;
  if (teacher) {
    teacherLock = std::unique_lock<std::mutex>(teacher->mutex_, std::defer_lock);
    std::lock(lock, teacherLock);
  } else {
    lock.lock();
  }
  stop.check();
  makeReady();
  const bool joint = step.head.kind == Kind::kJoint;
  if (joint && teacher) throw std::invalid_argument("a joint network is trained without a teacher: it is its own");
  if (teacher) {
    teacher->makeReady();
    if (teacher->kernels_->device() != kernels_->device())
      throw std::invalid_argument("the teacher and the student must be on the same device");
    // the target is the teacher's raw output, which is what grad_u Phi is to be only then
    if (!(teacher->preconditioning_ == preconditioning_))
      throw std::invalid_argument("the teacher and the student must have the same preconditioning");
  }
  if (step.walks && !teacher) throw std::invalid_argument("walks need a teacher");
  if (step.states && !teacher && !step.targets) throw std::invalid_argument("states need a teacher or targets");
  if (step.targets && teacher) throw std::invalid_argument("expected a teacher or targets, not both");
  const size_t d = sampleSize();
  const MicroBatches cut = microBatchesOf(step.batch, step.microBatch, step.share);
  const LevelStep* levels = step.levels;
  // losses and, where joint, the energy's, of the samples; then those of the levels: [samples] and [levels, samples]
  double* losses =
      beginStep((joint ? 2 : 1) * step.batch + (levels ? (1 + levels->levels) * levels->samples : 0), cut, step.share);
  double* levelLosses = losses + (joint ? 2 : 1) * step.batch;

  // ln sigma ~ N(P_mean, P_std^2); rounded to float32, as the kernels use it
  std::vector<float> added(step.batch);
  for (int i = 0; i < step.batch; ++i) {
    float normal[4];
    normalsFrom(philox(step.seed, kSigma, step.step, static_cast<uint32_t>(i), 0), normal);
    const bool given = step.states != nullptr && step.states[i] > 0;
    const double sigma = given ? step.states[i] : std::exp(step.pMean + step.pStd * normal[0]);
    const auto rounded = static_cast<float>(std::clamp(sigma, step.sigmaMin, step.sigmaMax));
    added[i] = given ? 0 : rounded;
    step.sigmas[i] = rounded;
  }

  for (int k = cut.first; k < cut.last; ++k) {
    const int first = cut.begin(step.batch, k), n = cut.begin(step.batch, k + 1) - first;
    beginMicroBatch(k);
    if (levels)
      classify(step, cut.begin(levels->samples, k), cut.begin(levels->samples, k + 1), levelLosses,
               levelLosses + levels->samples, stop);
    if (step.walks)
      walk(step, cut.begin(step.walks->samples, k), cut.begin(step.walks->samples, k + 1), *teacher, stop);
    Run& run = prepare(Job::kTrain, step.head.kind, n, step.dropout);
    Plan& plan = run.program.plan;
    const double* sigma = step.sigmas + first;
    const float* labels = step.labels ? step.labels + size_t(first) * labelDim(config_) : nullptr;
    const float* augment = step.augment ? step.augment + size_t(first) * augmentDim(config_) : nullptr;
    upload(run, step.head, sigma, labels, augment);
    if (step.dropout > 0) {
      const uint32_t key[4] = {static_cast<uint32_t>(step.seed), static_cast<uint32_t>(step.seed >> 32), step.step,
                               static_cast<uint32_t>(first)};
      kernels_->upload(plan.at<uint32_t>(run.program.dropoutKey), key, sizeof(key));
    }
    kernels_->upload(plan.at(run.staging), step.x0 + first * d, n * d * sizeof(float));
    kernels_->upload(plan.at(run.coefficientA), added.data() + first, n * sizeof(float));
    kernels_->run(op::AddNoise{plan.at(run.x), plan.at(run.staging), plan.at(run.coefficientA), step.seed, kNoise,
                               step.step, static_cast<uint32_t>(first), n, d});
    if (teacher) {
      const float* teacherLabels = labelDim(teacher->config_) > 0 ? labels : nullptr;
      teacher->forwardInto(plan.at(run.target), *kernels_, step.head, n, plan.at(run.x), sigma, teacherLabels, stop);
    } else {
      if (step.targets) kernels_->upload(plan.at(run.staging), step.targets + first * d, n * d * sizeof(float));
      setTarget(run, Levels(n, sigma, preconditioning_));
    }
    setLoss(run, step.head, 1.0 / (double(step.batch) * d));
    runPasses(run.program, stop);
    kernels_->copy(losses + first, plan.at(run.losses), n * sizeof(double));
    if (joint) kernels_->copy(losses + step.batch + first, plan.at(run.energyLosses), n * sizeof(double));
  }

  foldMicroBatches();

  std::vector<double> energy(joint ? step.batch : 0);
  std::vector<Values> values = {{step.losses, step.batch}};
  kernels_->download(step.losses, losses, step.batch * sizeof(double));
  if (joint) {
    kernels_->download(energy.data(), losses + step.batch, step.batch * sizeof(double));
    values.push_back({energy.data(), step.batch});
  }
  if (levels) {
    kernels_->download(levels->losses, levelLosses, levels->samples * sizeof(double));
    kernels_->download(levels->residual, levelLosses + levels->samples,
                       size_t(levels->levels) * levels->samples * sizeof(double));
    for (int j = -1; j < levels->levels; ++j)
      values.push_back({j < 0 ? levels->losses : levels->residual + j * levels->samples, levels->samples});
  }
  if (step.walks) values.push_back({step.walks->residual, step.walks->samples});
  gather(step.share, cut, values);
  TrainResult result = {meanLoss(step.losses, step.batch, double(d)), endStep(step.optimizer)};
  if (!joint) return result;
  for (int i = 0; i < step.batch; ++i) {
    step.losses[i] += step.head.energyWeight * energy[i] / double(d);
    result.energyLoss += energy[i] / (double(step.batch) * d);
  }
  result.loss += step.head.energyWeight * result.energyLoss;
  return result;
}

}  // namespace feynkac
