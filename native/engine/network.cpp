#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "engine/network_run.h"

namespace feynkac {
namespace {

constexpr double kTwoPi = 6.283185307179586;

}  // namespace

Network::Network(NetworkConfig config, Preconditioning preconditioning, MakeKernels makeKernels, bool joint)
    : Trainable(std::move(makeKernels)),
      config_(std::move(config)),
      preconditioning_(std::move(preconditioning)),
      joint_(joint) {
  validate(config_);
  Program sizes(1, nullptr);
  const Ports ports = build(config_, parameters_, sizes, joint_);
  noise_ = ports.noise;
  noise_.freqs.resize(noise_.steps > 0 ? 0 : sizes.var(ports.time).channels / 2);
  packings_ = sizes.packings;
}

void Network::requireKind(Kind kind) const {
  if (kind == Kind::kJoint && !joint_)
    throw std::invalid_argument("the network has no second output layer: it is not joint");
  if (kind != Kind::kJoint && kind != Kind::kDenoiser && joint_)
    throw std::invalid_argument("the network is joint: it is no other energy");
}

size_t Network::sampleSize() const {
  const SampleShape s = sampleShape(config_);
  return size_t(s.channels) * s.height * s.width;
}

Network::~Network() = default;

void Network::written(const float* torch) {
  if (noise_.buffer < 0) return;
  const float* stored = torch + parameters_.list()[noise_.buffer].torchOffset;
  for (size_t i = 0; i < noise_.freqs.size(); ++i) noise_.freqs[i] = kTwoPi * stored[i];
}

Network::Run& Network::prepare(Job job, Kind kind, int batch, float dropout, int levels) {
  requireKind(kind);
  Run& run = runs_.find(
      [&](const Run& r) {
        return r.job == job && r.kind == kind && r.batch == batch && r.dropout == dropout && r.levels == levels;
      },
      [&] { return layOut(job, kind, batch, dropout, levels); });
  equip(run.program);
  return run;
}

void Network::upload(Run& run, const Head& head, const double* sigma, const float* labels, const float* augment) {
  const int n = run.batch;
  Plan& plan = run.program.plan;
  if (run.headScale != static_cast<float>(head.scale)) {
    run.headScale = static_cast<float>(head.scale);
    plan.changed();
  }
  const Levels levels(n, sigma, preconditioning_);
  const auto cIn = levels.cIn();
  const auto cNoise = levels.cNoise();
  kernels_->upload(plan.at(run.cIn), cIn.data(), n * sizeof(float));
  if (noise_.steps > 0) {
    std::vector<float> oneHot(size_t(n) * noise_.steps, 0.0f);
    for (int i = 0; i < n; ++i)
      oneHot[size_t(i) * noise_.steps + std::clamp<long>(std::lround(cNoise[i]), 0, noise_.steps - 1)] = 1.0f;
    kernels_->upload(plan.at(run.program.x(run.ports.time)), oneHot.data(), oneHot.size() * sizeof(float));
  } else {
    kernels_->upload(plan.at(run.cNoise), cNoise.data(), n * sizeof(double));
    kernels_->upload(plan.at(run.frequencies), noise_.freqs.data(), noise_.freqs.size() * sizeof(double));
  }
  if (run.classTimes != kNone) {
    std::vector<double> times(n, 0.0);
    if (labels != nullptr) std::copy_n(labels, n, times.begin());
    kernels_->upload(plan.at(run.classTimes), times.data(), n * sizeof(double));
  }
  const auto put = [&](Buffer to, VarId port, const float* from) {
    if (to == kNone) return;
    const size_t bytes = run.program.floats(port) * sizeof(float);
    from ? kernels_->upload(plan.at(to), from, bytes) : kernels_->zero(plan.at(to), bytes);
  };
  put(run.labels, run.ports.labels, labels);
  put(run.augment, run.ports.augment, augment);
  if (run.rows == kNone) return;
  std::vector<float> rows;
  const auto append = [&](double (Levels::*factor)(int) const, double sign = 1) {
    for (int i = 0; i < n; ++i) rows.push_back(static_cast<float>(sign * (levels.*factor)(i)));
  };
  append(&Levels::rOfU);  // in the order of ResidualRow
  append(&Levels::rOfH);
  append(&Levels::phiGradOfU);
  append(&Levels::phiGradOfH);
  append(&Levels::phiCurvature, -1);
  append(&Levels::seedOfR);
  kernels_->upload(plan.at(run.rows), rows.data(), rows.size() * sizeof(float));
}

void Network::setLoss(Run& run, const Head& head, double weight) {
  const op::LossForm loss = head.loss.weighed(weight), energy = head.loss.weighed(head.energyWeight * weight);
  if (run.loss == loss && run.energyLoss == energy) return;
  run.loss = loss;
  run.energyLoss = energy;
  run.program.plan.changed();
}

// to = a x + b from, channels first
void Network::convert(Run& run, float* to, const std::vector<float>& a, const std::vector<float>& b, Buffer from) {
  Plan& plan = run.program.plan;
  const size_t row = run.batch * sizeof(float);
  if (!a.empty()) kernels_->upload(plan.at(run.coefficientA), a.data(), row);
  kernels_->upload(plan.at(run.coefficientB), b.data(), row);
  const SampleShape s = sampleShape(config_);
  kernels_->run(op::ToChannelsFirst{to, plan.at(run.coefficientA), a.empty() ? nullptr : plan.at(run.x),
                                    plan.at(run.coefficientB), plan.at(from), run.batch, s.channels,
                                    s.height * s.width});
}

// The same, to the host.
void Network::fetch(Run& run, float* to, const std::vector<float>& a, const std::vector<float>& b, Buffer from) {
  float* staging = run.program.plan.at(run.staging);
  convert(run, staging, a, b, from);
  kernels_->download(to, staging, run.batch * sampleSize() * sizeof(float));
}

void Network::evaluate(const Head& head, const Batch& batch, const float* direction, const Outputs& out,
                       const Stop& stop) {
  const std::lock_guard<std::mutex> lock(mutex_);
  stop.check();
  makeReady();
  evaluateHeld(head, batch, direction, out, stop);
}

void Network::evaluateHeld(const Head& head, const Batch& batch, const float* direction, const Outputs& out,
                           const Stop& stop) {
  const bool energy = head.kind != Kind::kDenoiser, joint = head.kind == Kind::kJoint;
  const int n = batch.n;
  const size_t bytes = n * sampleSize() * sizeof(float);
  const Levels levels(n, batch.sigma, preconditioning_);
  const auto download = [&](Plan& plan, Buffer b) {
    std::vector<double> v(n);
    kernels_->download(v.data(), plan.at(b), n * sizeof(double));
    return v;
  };
  const auto ones = [&] { return std::vector<float>(n, 1.0f); };

  // a joint network denoises by its own output layer
  const bool needsGradient = energy && ((out.denoised && !joint) || out.phiGrad || out.grad);
  if (needsGradient || out.raw || out.denoised || out.phi || out.energy || out.scoreGrad) {
    Run& run = prepare(needsGradient ? Job::kGradient : Job::kForward, head.kind, n);
    Plan& plan = run.program.plan;
    upload(run, head, batch.sigma, batch.labels, batch.augment);
    kernels_->upload(plan.at(run.x), batch.x, bytes);
    plan.run(*kernels_, stop);

    const Buffer h = run.program.x(run.ports.output), g = energy ? run.g : h;
    if (out.raw) fetch(run, out.raw, {}, ones(), h);
    if (out.denoised) fetch(run, out.denoised, levels.cSkip(), levels.cOut(), joint ? h : g);
    if (out.scoreGrad) fetch(run, out.scoreGrad, levels.gradOfX(), levels.gradOfG(), h);
    if (out.phiGrad) fetch(run, out.phiGrad, {}, ones(), g);
    if (out.grad) fetch(run, out.grad, levels.gradOfX(), levels.gradOfG(), g);
    if (energy && (out.phi || out.energy)) {
      const auto phi = download(plan, run.phi), xx = download(plan, run.xx);
      for (int i = 0; i < n; ++i) {
        const EnergyTerms terms = energyTerms(levels, head, i);
        const double ofSum = terms.ofSum * phi[i], a = levels.energyOfXx(i), b = levels.energyOfPhi(i);
        if (out.phi) out.phi[i] = ((terms.ofXx - a) * xx[i] + ofSum) / b;
        if (out.energy) out.energy[i] = terms.ofXx * xx[i] + ofSum;
      }
    }
  }

  if (out.jvp) {
    Run& run = prepare(Job::kTangent, head.kind, n);
    Plan& plan = run.program.plan;
    upload(run, head, batch.sigma, batch.labels, batch.augment);
    kernels_->upload(plan.at(run.x), batch.x, bytes);
    kernels_->upload(plan.at(run.direction), direction, bytes);
    plan.run(*kernels_, stop);
    const auto xv = download(plan, run.xv), one = download(plan, run.phiDot1), two = download(plan, run.phiDot2);
    for (int i = 0; i < n; ++i) {
      if (head.kind == Kind::kResidual) {  // <r, r'>
        out.jvp[i] = one[i];
        continue;
      }
      // dot and joint: a (<u, h'> + <u', h>); l2: <r, h'> - <r, u'>; norm: -<h, h'>
      double phiDot = -one[i];
      if (isDot(head.kind)) phiDot = head.scale * (one[i] + two[i]);
      if (head.kind == Kind::kL2) phiDot = one[i] - two[i];
      out.jvp[i] = 2 * levels.energyOfXx(i) * xv[i] + levels.energyOfPhi(i) * phiDot;
    }
  }
}

void Network::evaluateResident(const Head& head, const Batch& batch, const ResidentOutputs& out, const Stop& stop) {
  const std::lock_guard<std::mutex> lock(mutex_);
  stop.check();
  makeReady();
  if (kernels_->device() != out.device)
    throw std::invalid_argument("the model and the arrays must be on the same device");
  const bool energy = head.kind != Kind::kDenoiser, joint = head.kind == Kind::kJoint;
  const int n = batch.n;
  kernels_->after(out.order);
  const bool needsGradient = energy && ((out.denoised && !joint) || out.grad);
  Run& run = prepare(needsGradient ? Job::kGradient : Job::kForward, head.kind, n);
  Plan& plan = run.program.plan;
  upload(run, head, batch.sigma, batch.labels, batch.augment);
  kernels_->copy(plan.at(run.x), batch.x, n * sampleSize() * sizeof(float));
  plan.run(*kernels_, stop);
  const Levels levels(n, batch.sigma, preconditioning_);
  const Buffer h = run.program.x(run.ports.output), g = energy ? run.g : h;
  if (out.denoised) convert(run, out.denoised, levels.cSkip(), levels.cOut(), joint ? h : g);
  if (out.scoreGrad) convert(run, out.scoreGrad, levels.gradOfX(), levels.gradOfG(), h);
  if (out.grad) convert(run, out.grad, levels.gradOfX(), levels.gradOfG(), g);
  if (out.energy) {
    std::vector<double> a(n), b(n);
    for (int i = 0; i < n; ++i) {
      const EnergyTerms terms = energyTerms(levels, head, i);
      a[i] = terms.ofXx;
      b[i] = terms.ofSum;
    }
    kernels_->upload(plan.at(run.energyA), a.data(), n * sizeof(double));
    kernels_->upload(plan.at(run.energyB), b.data(), n * sizeof(double));
    kernels_->run(op::CombineRows{out.energy, plan.at<double>(run.energyA), plan.at<double>(run.xx),
                                  plan.at<double>(run.energyB), plan.at<double>(run.phi), n});
  }
  kernels_->before(out.order);
}

size_t Network::workingBytes(Job job, Kind kind, int batch) {
  requireKind(kind);
  return layOut(job, kind, batch, 0, 1)->program.plan.arenaBytes();
}

}  // namespace feynkac
