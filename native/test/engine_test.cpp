// Whole networks against themselves: the tangent pass against the energy gradient, the gradient of the loss against
// finite differences along random directions, batches against their rows, results in a device's memory.
#include "kernels/common/particles.h"
#include "network_cases.h"

using namespace feynkac;
using namespace feynkac::test;

namespace {

void testNetwork(const char* name, const NetworkConfig& config, const Preconditioning& preconditioning = {},
                 bool joint = false, bool briefly = false) {
  Setup s(config, 3, 11, preconditioning, joint);
  const size_t d = s.network.sampleSize(), parameters = s.network.parameters().torchSize();
  for (const Kind kind : {Kind::kDenoiser, Kind::kDot, Kind::kL2, Kind::kNorm, Kind::kJoint, Kind::kResidual}) {
    if (kind != Kind::kDenoiser && (kind == Kind::kJoint) != joint) continue;
    if (briefly && (kind == Kind::kL2 || kind == Kind::kNorm)) continue;  // they share the network's passes with others
    const Head head = {kind, scaleOf(kind), 0.7};
    const char* kindName = kKindNames[static_cast<int>(kind)];
    if (kind != Kind::kDenoiser) {
      auto grad = poisoned(s.n * d);
      std::vector<double> jvp(s.n), energy(s.n);
      Outputs out = {};
      out.grad = grad.data();
      out.energy = energy.data();
      out.jvp = jvp.data();
      s.network.evaluate(head, s.batch(), s.v.data(), out, Stop());
      for (int b = 0; b < s.n; ++b) {
        double dot = 0, gg = 0, vv = 0;
        for (size_t i = b * d; i < (b + 1) * d; ++i) {
          dot += double(grad[i]) * s.v[i];
          gg += double(grad[i]) * grad[i];
          vv += double(s.v[i]) * s.v[i];
        }
        const double error = std::fabs(dot - jvp[b]) / std::sqrt(gg * vv);
        CHECK(error < 2e-6, "%s %s: tangent against gradient, sample %d: %g", name, kindName, b, error);
      }
      // the gradient against central differences of the energy
      const double eps = 1e-2;
      auto moved = s.x;
      std::vector<double> plus(s.n), minus(s.n);
      Outputs only = {};
      for (const int sign : {1, -1}) {
        for (size_t i = 0; i < moved.size(); ++i)
          moved[i] = s.x[i] + static_cast<float>(sign * eps * s.sigma[i / d]) * s.v[i];
        only.energy = sign > 0 ? plus.data() : minus.data();
        Batch batch = s.batch();
        batch.x = moved.data();
        s.network.evaluate(head, batch, nullptr, only, Stop());
      }
      for (int b = 0; b < s.n; ++b) {
        double gg = 0, vv = 0;
        for (size_t i = b * d; i < (b + 1) * d; ++i) {
          gg += double(grad[i]) * grad[i];
          vv += double(s.v[i]) * s.v[i];
        }
        const double difference = (plus[b] - minus[b]) / (2 * eps * s.sigma[b]);
        const double error = std::fabs(difference - jvp[b]) / std::sqrt(gg * vv);
        CHECK(error < 2e-3, "%s %s: energy differences, sample %d: %g", name, kindName, b, error);
      }
    }

    // the loss's gradient along random directions of the weights
    const double loss = s.loss(head, s.weights);
    std::vector<float> gradient(parameters);
    s.network.read(Slot::kGrad, gradient.data());
    if (kind == Kind::kJoint) {
      const double same = s.frozenLoss(head, s.weights);
      CHECK(std::fabs(loss / same - 1) < 1e-5, "%s joint: the loss is %g, not %g", name, loss, same);
    }
    for (uint32_t k = 0; k < (briefly ? 1u : 3u); ++k) {
      const Slope slope = slopeOf(s.network, s.weights, gradient, 100 + k, [&](const std::vector<float>& w) {
        return kind == Kind::kJoint ? s.frozenLoss(head, w) : s.loss(head, w);
      });
      CHECK(slope.error < 1e-2, "%s %s: loss differences: %g against %g, error %g of the gradient's norm", name,
            kindName, slope.difference, slope.exact, slope.error);
    }
    s.network.write(Slot::kParams, s.weights.data());

    // a batch is its rows
    auto all = poisoned(s.n * d), one = poisoned(d);
    Outputs out = {};
    out.denoised = all.data();
    s.network.evaluate(head, s.batch(), nullptr, out, Stop());
    out.denoised = one.data();
    const Batch last = {1, s.x.data() + 2 * d, s.sigma.data() + 2, s.labels.data() + 2 * labelDim(config),
                        s.augment.data() + 2 * augmentDim(config)};
    s.network.evaluate(head, last, nullptr, out, Stop());
    CHECK(std::equal(one.begin(), one.end(), all.begin() + 2 * d),
          "%s %s: a row alone differs from the row in its batch", name, kindName);
  }
}

// A joint network is its denoiser, and an energy with a score besides: in one forward each.
void testJoint(const char* name, const NetworkConfig& config) {
  testNetwork(name, config, {}, true);
  Setup s(config, 3, 41, {}, true);
  auto raw = poisoned(s.x.size()), denoised = raw, alone = raw, aloneDenoised = raw, score = raw, exact = raw;
  std::vector<double> energy(s.n), exactEnergy(s.n);
  Outputs out = {};
  out.raw = alone.data();
  out.denoised = aloneDenoised.data();
  s.network.evaluate({Kind::kDenoiser, 1}, s.batch(), nullptr, out, Stop());
  out.raw = raw.data();
  out.denoised = denoised.data();
  out.scoreGrad = score.data();
  out.energy = energy.data();
  s.network.evaluate({Kind::kJoint, 0.5}, s.batch(), nullptr, out, Stop());
  CHECK(raw == alone && denoised == aloneDenoised, "%s: the joint network's denoiser", name);
  out = {};
  out.grad = exact.data();
  out.energy = exactEnergy.data();
  s.network.evaluate({Kind::kJoint, 0.5}, s.batch(), nullptr, out, Stop());
  CHECK(energy == exactEnergy && relativeError(exact, score) > 1e-2, "%s: two gradients of one energy", name);
  const size_t d = s.network.sampleSize();
  std::vector<float> want(s.x.size());
  for (size_t i = 0; i < want.size(); ++i)
    want[i] = static_cast<float>((double(s.x[i]) - denoised[i]) / std::pow(s.sigma[i / d], 2));
  CHECK(relativeError(score, want) < 1e-4, "%s: (x - D) / sigma^2: %g", name, relativeError(score, want));

  const auto refused = [](auto call) {
    try {
      call();
    } catch (const std::invalid_argument&) {
      return true;
    }
    return false;
  };
  Network plain(config, {}, newKernels);
  CHECK(refused([&] { plain.evaluate({Kind::kJoint, 0.5}, s.batch(), nullptr, out, Stop()); }), "joint without");
  CHECK(refused([&] { s.network.evaluate({Kind::kDot, 0.5}, s.batch(), nullptr, out, Stop()); }), "joint as dot");
}

// E = ||x - D_h||^2 / (2 sigma^2) keeps its digits at the smallest noise: against the sum in float64 of
// the network's own h.
void testResidualDigits(const NetworkConfig& config) {
  Setup s(config, 3, 51);
  const size_t d = s.network.sampleSize();
  s.sigma = {0.002, 0.002, 0.02};
  for (size_t i = 0; i < s.x.size(); ++i) s.x[i] *= 0.5f;
  auto raw = poisoned(s.x.size());
  std::vector<double> energy(s.n), phi(s.n);
  Outputs out = {};
  out.raw = raw.data();
  out.energy = energy.data();
  out.phi = phi.data();
  s.network.evaluate({Kind::kResidual, 1}, s.batch(), nullptr, out, Stop());
  for (int b = 0; b < s.n; ++b) {
    const double sd = s.preconditioning.sigmaData, sigma = s.sigma[b], v = sigma * sigma + sd * sd;
    double want = 0, xx = 0;
    for (size_t i = b * d; i < (b + 1) * d; ++i) {
      const double r = sigma / v * s.x[i] - sd / std::sqrt(v) * raw[i];
      want += r * r / 2;
      xx += double(s.x[i]) * s.x[i];
    }
    CHECK(std::fabs(energy[b] / want - 1) < 2e-7, "residual energy at %g: %.9g, not %.9g", sigma, energy[b], want);
    const double wantPhi = (xx / (2 * v) - want) * sigma / sd;
    CHECK(std::fabs(phi[b] / wantPhi - 1) < 2e-6, "residual Phi at %g: %.9g, not %.9g", sigma, phi[b], wantPhi);
  }
}

// x made, and results read, in another stream of the device.
void testResident(const NetworkConfig& config, std::unique_ptr<ParticleKernels> particles, bool joint = false) {
  Setup s(config, 3, 21, {}, joint);
  const size_t bytes = s.x.size() * sizeof(float);
  auto* x = static_cast<float*>(particles->allocate(bytes));
  auto* image = static_cast<float*>(particles->allocate(bytes));
  auto* energy = static_cast<double*>(particles->allocate(s.n * sizeof(double)));
  enum Wanted { kGrad, kDenoised, kScoreGrad };
  for (const Kind kind : {Kind::kDenoiser, Kind::kDot, Kind::kL2, Kind::kNorm, Kind::kJoint, Kind::kResidual})
    for (const Wanted wanted : {kGrad, kDenoised, kScoreGrad}) {
      if (kind == Kind::kDenoiser ? wanted != kDenoised : (kind == Kind::kJoint) != joint) continue;
      if (kind != Kind::kJoint && wanted == kScoreGrad) continue;
      const Head head = {kind, scaleOf(kind)};
      auto want = poisoned(s.x.size()), got = want;
      std::vector<double> wantEnergy(s.n, 0), gotEnergy = wantEnergy;
      const bool energies = kind != Kind::kDenoiser;
      Outputs host = {};
      (wanted == kDenoised ? host.denoised : wanted == kGrad ? host.grad : host.scoreGrad) = want.data();
      if (energies) host.energy = wantEnergy.data();
      s.network.evaluate(head, s.batch(), nullptr, host, Stop());
      particles->upload(x, s.x.data(), bytes);
      particles->upload(image, got.data(), bytes);
      Batch batch = s.batch();
      batch.x = x;
      s.network.evaluateResident(
          head, batch,
          {wanted == kDenoised ? image : nullptr, energies ? energy : nullptr, wanted == kGrad ? image : nullptr,
           particles->device(), particles->context(), wanted == kScoreGrad ? image : nullptr},
          Stop());
      particles->download(got.data(), image, bytes);
      if (energies) particles->download(gotEnergy.data(), energy, s.n * sizeof(double));
      CHECK(got == want && relativeError(gotEnergy, wantEnergy) < 1e-15, "resident %s",
            kKindNames[static_cast<int>(kind)]);
    }
  for (void* p : {static_cast<void*>(x), static_cast<void*>(image), static_cast<void*>(energy)}) particles->release(p);
}

// E and its gradient by D are consistent for every form (testNetwork), and a table's times are met.
void testPreconditionings(const NetworkConfig& config) {
  NoiseCondition table;
  table.rule = NoiseCondition::kTable;
  table.sigmas = {0.02, 0.1, 1, 10};
  table.times = {0, 1, 2.5, 7};
  for (const Form form : {Form::kEpsilon, Form::kV, Form::kSample, Form::kVe})
    testNetwork("preconditioned", config, {form, 1, table});
  CHECK(table.at(0.001) == 0 && table.at(0.1) == 1 && table.at(99) == 7, "table of noise levels");
  CHECK(std::fabs(table.at(std::sqrt(0.1)) - 1.75) < 1e-12, "between two levels: %g", table.at(std::sqrt(0.1)));
  table.rule = NoiseCondition::kNearest;
  CHECK(table.at(0.5) == 1 && table.at(0.6) == 2.5, "the nearest level");
  NoiseCondition vp;
  vp.rule = NoiseCondition::kVariance;
  vp.betaD = 19.9;
  vp.betaMin = 0.1;
  vp.steps = 1000;
  for (const double t : {1e-5, 0.01, 0.5, 1.0}) {
    const double sigma = std::sqrt(std::expm1(vp.betaD * t * t / 2 + vp.betaMin * t));
    CHECK(std::fabs(vp.at(sigma) / (999 * t) - 1) < 1e-9, "c_noise at t = %g: %g", t, vp.at(sigma));
  }
}

void testCancel() {
  const std::atomic<bool> flag{true};
  Setup s(ResidualMlpConfig{2, 16, 2, 0, 1}, 3, 1);
  auto out = poisoned(6);
  Outputs outputs = {};
  outputs.denoised = out.data();
  bool cancelled = false;
  try {
    s.network.evaluate({Kind::kDenoiser, 1}, s.batch(), nullptr, outputs, Stop(&flag));
  } catch (const Cancelled&) {
    cancelled = true;
  }
  CHECK(cancelled, "a cancelled job ran");
}

void testRefusals() {
  const auto refused = [](const NetworkConfig& config) {
    try {
      Network network(config, {}, newKernels);
    } catch (const std::invalid_argument&) {
      return true;
    }
    return false;
  };
  CHECK(refused(unet(1, 7, 7, {1, 2}, 1, {}, 0, 0)), "odd image sides with a halving");
  CHECK(refused(unet(1, 8, 8, {}, 1, {}, 0, 0)), "no levels");
  CHECK(refused(withLabelMaps(unet(1, 8, 8, {1}, 1, {}, 0, 0))), "label maps without labels");
  auto odd = unet(1, 8, 8, {1}, 1, {}, 0, 0);
  odd.modelChannels = 144;
  CHECK(refused(odd), "144 channels are not 32 groups");
  CHECK(refused(ResidualMlpConfig{0, 16, 2, 0, 1}), "dimension 0");
}

}  // namespace

int main() {
  newKernels = onCpu;
  testNetwork("unet", unet(3, 8, 8, {1, 2}, 1, {4}, 5, 3));
  testNetwork("non-square", unet(1, 4, 12, {1, 2, 2}, 1, {12, 3}, 0, 0, {1, 3, 3, 1}));
  testNetwork("no blocks", unet(2, 4, 4, {1}, 0, {}, 0, 2));
  testNetwork("label maps", withLabelMaps(unet(2, 4, 8, {1, 2}, 1, {4}, 3, 0)));
  testNetwork("ncsn++", ncsnpp(EdmUNetConfig::kResidual, false));
  testNetwork("skips", ncsnpp(EdmUNetConfig::kSkip, true));
  testNetwork("adm", adm({1, 8}, 1));
  testNetwork("adm, no blocks", adm({1, 2}, 0));
  testNetwork("diffusers", diffusers(false, DiffusersUNetConfig::kConv, 0, 4));
  testNetwork("diffusers, symmetric padding", diffusers(false, DiffusersUNetConfig::kConv, 1, 0));
  testNetwork("diffusers, scale and shift", diffusers(true, DiffusersUNetConfig::kResnet, 0, 5));
  auto learned = diffusers(false, DiffusersUNetConfig::kConv, 0, 4);
  learned.timeEmbedding = DiffusersUNetConfig::kLearned;
  testNetwork("diffusers, learned times", learned);
  auto number = diffusers(false, DiffusersUNetConfig::kConv, 0, 4);
  number.classEmbedding = DiffusersUNetConfig::kTimestep;
  testNetwork("diffusers, a number as its class", number);
  testPreconditionings(unet(1, 4, 4, {1}, 1, {}, 0, 0));
  testNetwork("mlp", ResidualMlpConfig{2, 16, 2, 0, 1});
  testNetwork("labelled mlp", ResidualMlpConfig{5, 24, 3, 4, 2});
  testJoint("joint unet", unet(3, 8, 8, {1, 2}, 1, {4}, 5, 3));
  testJoint("joint label maps", withLabelMaps(unet(2, 4, 8, {1, 2}, 1, {4}, 3, 0)));
  testJoint("joint skips", ncsnpp(EdmUNetConfig::kSkip, true));
  testJoint("joint adm", adm({1, 8}, 1));
  testJoint("joint diffusers", diffusers(true, DiffusersUNetConfig::kResnet, 0, 5));
  testJoint("joint mlp", ResidualMlpConfig{2, 16, 2, 0, 1});
  for (const bool joint : {false, true})
    testResident(unet(3, 8, 8, {1, 2}, 1, {4}, 5, 3), std::unique_ptr<ParticleKernels>(makeCpuParticleKernels()),
                 joint);
  testResidualDigits(unet(3, 8, 8, {1, 2}, 1, {4}, 5, 3));
  testCancel();
  testRefusals();
  if (!cudaDevices().list.empty()) {
    newKernels = onCuda;
#ifdef FEYNKAC_EMULATED
    emulator::config.lazyStreams = true;  // so that streams that should wait for others must
    const bool briefly = !full();
#else
    const bool briefly = false;
#endif
    CHECK(checkCudaDevice(0).failure.empty(), "self-test: %s", checkCudaDevice(0).failure.c_str());
    testNetwork("unet on cuda", unet(1, 4, 4, {1, 2}, 1, {2}, 3, 2), {}, false, briefly);
    testJoint("joint mlp on cuda", ResidualMlpConfig{2, 16, 2, 0, 1});
    for (const bool joint : {false, true})
      testResident(unet(1, 4, 4, {1}, 1, {2}, 3, 2), std::unique_ptr<ParticleKernels>(makeCudaParticleKernels(0)),
                   joint);
    testCancel();
  }
  return report("engine");
}
