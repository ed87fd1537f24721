#include "engine/network_run.h"

namespace feynkac {

// The plan of a job: what the passes of docs/concepts/distillation.md read and write, in order.
std::unique_ptr<Network::Run> Network::layOut(Job job, Kind kind, int batch, float dropout, int levels) {
  auto owner = std::make_unique<Run>(job, kind, batch, dropout, levels, &weights_);
  Run* r = owner.get();
  Program& g = r->program;
  Plan& plan = g.plan;
  g.dropoutRate = dropout;
  if (dropout > 0) g.dropoutKey = plan.pinned(4 * sizeof(uint32_t));
  r->ports = build(config_, r->declared, g, joint_);
  const bool joint = kind == Kind::kJoint, dotHead = isDot(kind);
  // `out`: the output that the energy is made of, if there is one; `image`: the denoiser's
  const VarId in = r->ports.input, image = r->ports.output, out = joint ? r->ports.energy : image;
  const auto [channels, height, width] = sampleShape(config_);
  const int points = height * width;
  const size_t d = sampleSize(), all = batch * d;
  const bool energy = kind != Kind::kDenoiser;

  r->x = plan.pinned(all * sizeof(float));
  r->staging = plan.pinned(all * sizeof(float));
  for (Buffer* b : {&r->cIn, &r->coefficientA, &r->coefficientB}) *b = plan.pinned(batch * sizeof(float));
  for (Buffer* b : {&r->cNoise, &r->energyA, &r->energyB, &r->xx, &r->phi, &r->xv, &r->phiDot1, &r->phiDot2, &r->losses,
                    &r->energyLosses})
    *b = plan.pinned(batch * sizeof(double));

  const auto prepareInput = [&, channels = channels](Buffer to, Buffer from) {
    plan.op({to, from, r->cIn}, [=, &plan](Kernels& k) {
      k.run(op::ToChannelsLast{plan.at(to), plan.at(r->cIn), plan.at(from), nullptr, nullptr, batch, channels, points});
    });
  };
  const auto dot = [&](Buffer to, Buffer x1, Buffer x2) {
    plan.op({to, x1, x2}, [=, &plan](Kernels& k) {
      k.run(op::DotRows{plan.at<double>(to), plan.at(x1), plan.at(x2), batch, d});
    });
  };
  // y = a x1 + b x2, with the head's scale in place of a where asked
  const auto combine = [&](Buffer y, float a, Buffer x1, float b = 0, Buffer x2 = kNone, bool scaled = false) {
    plan.op({y, x1, x2}, [=, &plan](Kernels& k) {
      k.run(op::Combine{plan.at(y), scaled ? a * r->headScale : a, plan.at(x1), b, plan.at(x2), all});
    });
  };
  const auto labels = [&](VarId to, Buffer& from, float scale) {
    if (to == kNone) return;
    const size_t n = g.floats(to);
    from = plan.pinned(n * sizeof(float));
    const Buffer x = g.x(to), source = from;
    plan.op({x, source}, [=, &plan](Kernels& k) {
      k.run(op::Combine{plan.at(x), scale, plan.at(source), 0, nullptr, n});
    });
  };

  prepareInput(g.x(in), r->x);
  const bool cosFirst = noise_.cosFirst;
  const auto embed = [&](VarId to, Buffer times) {
    const Buffer y = g.x(to);
    const int noiseChannels = g.var(to).channels;
    if (r->frequencies == kNone) r->frequencies = plan.pinned(noiseChannels / 2 * sizeof(double));
    plan.op({y, times, r->frequencies}, [=, &plan](Kernels& k) {
      k.run(op::NoiseEmbedding{plan.at(y), plan.at<double>(times), plan.at<double>(r->frequencies), cosFirst, batch,
                               noiseChannels});
    });
  };
  if (noise_.steps > 0)
    plan.pin(g.x(r->ports.time));  // one-hot, from outside
  else
    embed(r->ports.time, r->cNoise);
  if (r->ports.classTime != kNone) {
    r->classTimes = plan.pinned(batch * sizeof(double));
    embed(r->ports.classTime, r->classTimes);
  }
  labels(r->ports.labels, r->labels, r->ports.labelScale);
  labels(r->ports.augment, r->augment, 1.0f);
  g.primal();
  plan.pin(g.x(image));
  dot(r->xx, r->x, r->x);

  // to[b] = factor[row] x1[b] + factor[row2] x2[b], of the residual head's factors
  if (kind == Kind::kResidual) r->rows = plan.pinned(kResidualRows * batch * sizeof(float));
  const auto combineRows = [&](Buffer to, ResidualRow row, Buffer x1, ResidualRow row2 = kROfU, Buffer x2 = kNone) {
    plan.op({to, r->rows, x1, x2}, [=, &plan](Kernels& k) {
      const float* factors = plan.at(r->rows);
      k.run(op::ToChannelsLast{plan.at(to), factors + row * batch, plan.at(x1), factors + row2 * batch, plan.at(x2),
                               batch, 1, static_cast<int>(d)});
    });
  };

  // Phi, and l2's residual r = u - h, which is also its adjoint seed
  if (dotHead) dot(r->phi, g.x(in), g.x(out));
  if (kind == Kind::kNorm) dot(r->phi, g.x(out), g.x(out));
  if (kind == Kind::kL2) {
    combine(g.a(out), 1, g.x(in), -1, g.x(out));
    dot(r->phi, g.a(out), g.a(out));
  }
  Buffer residual = kNone;
  if (kind == Kind::kResidual) {
    residual = plan.floats(all);
    combineRows(residual, kROfU, g.x(in), kROfH, g.x(out));
    dot(r->phi, residual, residual);
  }

  if (job == Job::kTangent) {
    r->direction = plan.pinned(all * sizeof(float));
    dot(r->xv, r->x, r->direction);
    prepareInput(g.t(in), r->direction);
    g.tangent(false);
    const Buffer left = kind == Kind::kL2 ? g.a(out) : g.x(out);
    if (kind == Kind::kResidual) {
      const Buffer change = plan.floats(all);
      combineRows(change, kROfU, g.t(in), kROfH, g.t(out));
      dot(r->phiDot1, residual, change);
    } else {
      dot(r->phiDot1, dotHead ? g.x(in) : left, g.t(out));
      if (kind != Kind::kNorm) dot(r->phiDot2, g.t(in), left);
    }
  }

  if (energy && (job == Job::kGradient || job == Job::kTrain)) {
    std::vector<VarId> started = {out};
    if (dotHead) {
      combine(g.a(out), 1, g.x(in), 0, kNone, true);
      combine(g.a(in), 1, g.x(out), 0, kNone, true);
      started.push_back(in);
    } else if (kind == Kind::kL2) {
      combine(g.a(in), -1, g.a(out));
      started.push_back(in);
    } else if (kind == Kind::kResidual) {
      combineRows(g.a(out), kSeedOfR, residual);
      combineRows(g.a(in), kPhiGradOfU, g.x(in), kPhiGradOfH, g.x(out));
      started.push_back(in);
    } else {
      combine(g.a(out), -1, g.x(out));
    }
    g.backward({false, false}, started);
    r->g = g.a(in);
    plan.pin(r->g);
  }

  if (job == Job::kLevels || job == Job::kWalks) {
    const int samples = batch / levels, truths = job == Job::kWalks ? levels : 1;
    r->truth = plan.pinned(truths * samples * sizeof(int32_t));
    for (Buffer* b : {&r->free, &r->residual, &r->slope}) *b = plan.pinned(batch * sizeof(double));
    const Buffer energies = plan.bytes(batch * sizeof(double)), c = plan.floats(truths * batch);
    plan.op({energies, r->energyA, r->xx, r->energyB, r->phi}, [=, &plan](Kernels& k) {
      k.run(op::CombineRows{plan.at<double>(energies), plan.at<double>(r->energyA), plan.at<double>(r->xx),
                            plan.at<double>(r->energyB), plan.at<double>(r->phi), batch});
    });
    plan.op({c, r->losses, r->residual, energies, r->free, r->slope, r->truth}, [=, &plan](Kernels& k) {
      for (int t = 0; t < truths; ++t)
        k.run(op::LevelLoss{plan.at(c) + t * batch, plan.at<double>(r->losses) + t * samples,
                            plan.at<double>(r->residual), plan.at<double>(energies), plan.at<double>(r->free),
                            plan.at<double>(r->slope), plan.at<int32_t>(r->truth) + t * samples, r->levelWeight, levels,
                            samples});
    });
    // what `slope` of EnergyTerms is times of
    const Buffer seed = g.b(out), of = dotHead                   ? g.x(in)
                                       : kind == Kind::kL2       ? g.a(out)
                                       : kind == Kind::kResidual ? residual
                                                                 : g.x(out);
    plan.op({seed, c, of}, [=, &plan](Kernels& k) {
      k.run(op::ToChannelsLast{plan.at(seed), plan.at(c), plan.at(of), truths > 1 ? plan.at(c) + batch : nullptr,
                               truths > 1 ? plan.at(of) : nullptr, batch, 1, static_cast<int>(d)});
    });
    g.backward({true, false}, {out});
  }

  if (job == Job::kTrain) {
    r->target = plan.pinned(all * sizeof(float));
    const auto loss = [&](Buffer v, Buffer losses, Buffer value, Buffer target, const op::LossForm& form) {
      plan.op({v, losses, value, target}, [=, &plan, &form](Kernels& k) {
        k.run(op::ProjectionLoss{plan.at(v), plan.at<double>(losses), plan.at(value), plan.at(target), form, batch, d});
      });
    };
    const Buffer v = energy ? g.t(in) : g.b(out), value = energy ? r->g : g.x(out);
    if (joint) {
      // the denoiser learns the target, the energy what the denoiser says, which its own part leaves as it is
      loss(g.b(image), r->losses, g.x(image), r->target, r->loss);
      loss(v, r->energyLosses, value, g.x(image), r->energyLoss);
    } else {
      loss(v, r->losses, value, r->target, r->loss);
    }
    if (energy) {
      g.tangent(true);
      if (dotHead) combine(g.b(out), 1, v, 0, kNone, true);
      if (kind == Kind::kL2) combine(g.b(out), 1, v, -1, g.t(out));
      if (kind == Kind::kNorm) combine(g.b(out), -1, g.t(out));
      if (kind == Kind::kResidual) combineRows(g.b(out), kPhiGradOfH, v, kMinusCurvature, g.t(out));
    }
    g.backward({true, energy}, {out, image});
  }
  plan.layOut();
  return owner;
}

}  // namespace feynkac
