// Training steps: micro-batches against whole batches, threads against one, and the gradients of a step with dropout and of the
// cross-entropy over noise levels against finite differences of their losses.
#include <numeric>

#include "kernels/common/random.h"
#include "kernels/cpu/runtime/threads.h"
#include "network_cases.h"

using namespace feynkac;
using namespace feynkac::test;

namespace {

// One optimizer step, whole or in micro-batches, on one thread or several.
std::vector<float> trained(const NetworkConfig& config, Kind kind, int microBatch, int threads, int steps, bool distil,
                           float dropout, double muon = 0) {
  setThreadCount(threads);
  Network student(config, {}, newKernels, kind == Kind::kJoint), teacher(config, {}, newKernels);
  student.initialise(3);
  const auto taught = randomVector(teacher.parameters().torchSize(), 4, 0.2f);  // ADM starts as 0
  teacher.write(Slot::kParams, taught.data());
  const int batch = 6;
  const auto x0 = randomVector(batch * student.sampleSize(), 5, 0.5f);
  const auto labels = randomVector(batch * std::max(1, labelDim(config)), 6);
  std::vector<double> losses(batch), sigmas(batch);
  for (int k = 1; k <= steps; ++k) {
    const TrainStep step = {{kind, 0.5, 0.7},
                            batch,
                            microBatch,
                            x0.data(),
                            labels.data(),
                            -1.2,
                            1.2,
                            0.01,
                            80,
                            dropout,
                            42,
                            static_cast<uint32_t>(k),
                            {{1e-3, 0.9, 0.999, 1e-8, k, 1.0, 0.9}, muon},
                            losses.data(),
                            sigmas.data()};
    const TrainResult result = student.train(step, distil ? &teacher : nullptr, Stop());
    CHECK(std::isfinite(result.loss) && std::isfinite(result.gradNorm) && result.gradNorm > 0, "loss %g gradient %g",
          result.loss, result.gradNorm);
    // ADM's outputs start as 0
    CHECK((result.energyLoss > 0) == (kind == Kind::kJoint && (k > 1 || dropout == 0)),
          "the energy's part of the loss: %g", result.energyLoss);
  }
  std::vector<float> weights(student.parameters().torchSize());
  student.read(Slot::kParams, weights.data());
  return weights;
}

void testTraining(const NetworkConfig& config, float dropout = 0) {
  for (const bool distil : {false, true})
    for (const Kind kind : {Kind::kDenoiser, Kind::kDot, Kind::kJoint, Kind::kResidual}) {
      if (distil ? kind == Kind::kDenoiser || kind == Kind::kJoint : kind == Kind::kResidual) continue;
      const auto whole = trained(config, kind, 6, 1, 2, distil, dropout),
                 threads = trained(config, kind, 6, 3, 2, distil, dropout);
      CHECK(whole == threads, "training depends on the number of threads");
      const auto micro = trained(config, kind, 4, 2, 1, distil, dropout),
                 once = trained(config, kind, 6, 2, 1, distil, dropout);
      const double error = relativeError(micro, once);
      CHECK(error < 1e-4, "micro-batches differ by %g", error);
    }
}

// A step moves the weights of convolutions between many channels otherwise than Adam's, and all else as Adam's.
void testMuon(const NetworkConfig& config) {
  const auto after = [&](double muon, int threads, int steps) {
    return trained(config, Kind::kDenoiser, 6, threads, steps, false, 0, muon);
  };
  const auto ours = after(0.95, 1, 1), adam = after(0, 1, 1);
  int moved = 0;
  const Network network(config, {}, newKernels, false);
  for (const Parameter& p : network.parameters().list()) {
    const auto from = ours.begin() + p.torchOffset;
    const bool same = std::equal(from, from + p.size, adam.begin() + p.torchOffset);
    const bool matrix = p.shape.size() == 4 && p.shape[0] >= 16 && p.shape[1] >= 16;
    CHECK(same == !matrix, "%s is moved by the wrong optimizer", p.name.c_str());
    moved += matrix;
  }
  CHECK(moved > 3, "only %d matrices", moved);
  CHECK(after(0.95, 1, 2) == after(0.95, 3, 2), "Muon depends on the number of threads");
}

// The masks are the same in all passes: the gradient of a step is that of its loss.
void testDropout(const NetworkConfig& config) {
  for (const Kind kind : {Kind::kDenoiser, Kind::kDot}) {
    Setup s(config, 3, 31);
    std::vector<double> losses(s.n), sigmas(s.n);
    const auto lossAt = [&](const std::vector<float>& weights, float rate) {
      s.network.write(Slot::kParams, weights.data());
      return s.network
          .train({{kind, 0.5},
                  s.n,
                  2,
                  s.x.data(),
                  s.labels.data(),
                  0,
                  1,
                  0.01,
                  80,
                  rate,
                  7,
                  3,
                  {0, 0.9, 0.999, 1e-8, 1, 0, 0.9},
                  losses.data(),
                  sigmas.data()},
                 nullptr, Stop())
          .loss;
    };
    const double loss = lossAt(s.weights, 0.4f);
    std::vector<float> gradient(s.weights.size());
    s.network.read(Slot::kGrad, gradient.data());
    CHECK(loss == lossAt(s.weights, 0.4f) && loss != lossAt(s.weights, 0), "dropout is drawn from the seed");
    const Slope slope =
        slopeOf(s.network, s.weights, gradient, 32, [&](const std::vector<float>& w) { return lossAt(w, 0.4f); });
    CHECK(slope.error < 1e-2, "%s dropout: loss differences: %g against %g", kKindNames[static_cast<int>(kind)],
          slope.difference, slope.exact);
  }
}

// The cross-entropy over noise levels: its gradient beside the loss's own, in one pass or several, and that by F.
void testLevels(const NetworkConfig& config, Kind kind) {
  constexpr int kLevels = 3, kSamples = 5;
  constexpr double kWeight = 0.7;
  Setup s(config, 6, 41, {}, kind == Kind::kJoint);
  std::vector<double> losses(s.n), sigmas(s.n), sigma, cross(kSamples), residual(kLevels * kSamples);
  for (int j = 0; j < kLevels; ++j)
    for (int i = 0; i < kSamples; ++i) sigma.push_back(std::exp(0.4 * i - 1.5 + 0.3 * j));
  const std::vector<int32_t> truth = {2, 0, 1, 1, 0};
  std::vector<double> free(sigma.size());
  for (size_t i = 0; i < free.size(); ++i) free[i] = -1.3 * std::log(sigma[i]) * double(s.network.sampleSize());
  const auto crossEntropy = [&](const std::vector<float>& weights, double weight, int microBatch) {
    s.network.write(Slot::kParams, weights.data());
    const LevelStep levels = {kLevels,      kSamples,    weight,       sigma.data(),
                              truth.data(), free.data(), cross.data(), residual.data()};
    TrainStep step = {{kind, scaleOf(kind)},
                      s.n,
                      microBatch,
                      s.x.data(),
                      nullptr,
                      0,
                      1,
                      0.01,
                      80,
                      0,
                      7,
                      3,
                      {0, 0.9, 0.999, 1e-8, 1, 0, 0.9},
                      losses.data(),
                      sigmas.data()};
    step.levels = &levels;
    s.network.train(step, nullptr, Stop());
    return std::accumulate(cross.begin(), cross.end(), 0.0) / kSamples;
  };
  const auto gradientOf = [&](double weight, int microBatch) {
    crossEntropy(s.weights, weight, microBatch);
    std::vector<float> gradient(s.weights.size());
    s.network.read(Slot::kGrad, gradient.data());
    return gradient;
  };
  auto gradient = gradientOf(kWeight, 15);
  const double pieces = relativeError(gradientOf(kWeight, 6), gradient);
  CHECK(pieces < 1e-5, "%s: micro-batches of levels differ by %g", kKindNames[static_cast<int>(kind)], pieces);
  const auto without = gradientOf(0, 15);
  for (size_t i = 0; i < gradient.size(); ++i)
    gradient[i] = static_cast<float>((double(gradient[i]) - without[i]) / kWeight);
  const Slope slope = slopeOf(s.network, s.weights, gradient, 42,
                              [&](const std::vector<float>& w) { return crossEntropy(w, kWeight, 15); });
  CHECK(slope.error < 2e-3 && std::fabs(slope.exact) > 0, "%s levels: loss differences: %g against %g",
        kKindNames[static_cast<int>(kind)], slope.difference, slope.exact);

  crossEntropy(s.weights, kWeight, 15);
  const auto derivative = residual;
  for (const size_t at : {size_t(0), size_t(7), free.size() - 1}) {
    const double h = 1e-4, before = free[at];
    const auto lossAt = [&](double value) {
      free[at] = value;
      return kSamples * crossEntropy(s.weights, kWeight, 15);
    };
    const double difference = (lossAt(before + h) - lossAt(before - h)) / (2 * h);
    free[at] = before;
    CHECK(std::fabs(difference - derivative[at]) < 1e-6, "%s: derivative by F %zu: %g against %g",
          kKindNames[static_cast<int>(kind)], at, difference, derivative[at]);
  }
}

// The path loss: residuals against the energies at the walks' ends and sums in float64 (without cosines), the gradient against
// finite differences, in one pass or several.
void testWalks(const NetworkConfig& config, Kind kind, bool cosines) {
  constexpr int kSteps = 2, kSamples = 5, kGroups = 3;
  constexpr double kWeight = 0.3;
  const char* name = kKindNames[static_cast<int>(kind)];
  Setup s(config, 6, 61);
  Network teacher(config, {}, newKernels);
  const auto teacherWeights = randomWeights(teacher, 71);
  teacher.write(Slot::kParams, teacherWeights.data());
  const size_t d = s.network.sampleSize();
  std::vector<double> losses(s.n), sigmas(s.n), sigma, variances, constant, share(kSamples, 1), residual(kSamples);
  for (int j = 0; j <= kSteps; ++j)
    for (int i = 0; i < kSamples; ++i) sigma.push_back(std::exp(0.5 * i - 1.5 + 0.1 * j));
  for (int i = 0; i < kSteps * kSamples * kGroups; ++i) variances.push_back(0.05 * (i % 7));
  for (int i = 0; i < kSamples; ++i) constant.push_back(0.5 * i);
  std::vector<int32_t> group(d);
  for (size_t i = 0; i < d; ++i) group[i] = static_cast<int32_t>(i % kGroups);
  const auto run = [&](const std::vector<float>& weights, double weight, int microBatch) {
    s.network.write(Slot::kParams, weights.data());
    const WalkStep walks = {kSteps,       kSamples,         kGroups,      weight,  sigma.data(),   constant.data(),
                            share.data(), variances.data(), group.data(), cosines, residual.data()};
    TrainStep step = {{kind, scaleOf(kind)},
                      s.n,
                      microBatch,
                      s.x.data(),
                      s.labels.data(),
                      0,
                      1,
                      0.01,
                      80,
                      0,
                      7,
                      3,
                      {0, 0.9, 0.999, 1e-8, 1, 0, 0.9},
                      losses.data(),
                      sigmas.data()};
    step.walks = &walks;
    s.network.train(step, &teacher, Stop());
    double loss = 0;
    for (int b = 0; b < kSamples; ++b) loss += share[b] * 32 * std::log(std::cosh(residual[b] / 4)) / kSamples;
    return weight * loss;
  };
  const auto gradientOf = [&](double weight, int microBatch) {
    run(s.weights, weight, microBatch);
    std::vector<float> gradient(s.weights.size());
    s.network.read(Slot::kGrad, gradient.data());
    return gradient;
  };
  // as the residuals are: those beyond Huber's bound and those within it
  run(s.weights, kWeight, 15);
  for (int b = 0; b < kSamples; ++b) constant[b] += residual[b] - (b - 2) * 3.0;
  auto gradient = gradientOf(kWeight, 15);
  const auto whole = residual;
  for (int b = 0; b < kSamples; ++b)
    CHECK(std::fabs(residual[b] - (b - 2) * 3.0) < 1e-9, "%s walks: residual %g", name, residual[b]);
  const double pieces = relativeError(gradientOf(kWeight, 4), gradient);
  CHECK(pieces < 1e-5 && relativeError(residual, whole) < 1e-4, "%s: micro-batches of walks differ by %g", name,
        pieces);
  const auto without = gradientOf(0, 15);
  share[1] = 0;
  auto shared = gradientOf(kWeight, 15);
  for (size_t i = 0; i < gradient.size(); ++i)
    shared[i] = static_cast<float>((double(shared[i]) - without[i]) / kWeight);
  const Slope slope = slopeOf(s.network, s.weights, shared, 62,
                              [&](const std::vector<float>& w) { return run(w, kWeight, 15) / kWeight; });
  CHECK(slope.error < 2e-3 && std::fabs(slope.exact) > 0, "%s walks: loss differences: %g against %g", name,
        slope.difference, slope.exact);

  if (cosines) return;
  constant.assign(kSamples, 0);
  run(s.weights, kWeight, 15);
  for (int b = 0; b < kSamples; ++b) {
    std::vector<std::vector<float>> x(kSteps + 1, std::vector<float>(s.x.begin() + b * d, s.x.begin() + (b + 1) * d));
    double a = 0;
    for (int j = 0; j <= kSteps; ++j) {
      if (j > 0) x[j] = x[j - 1];
      const double to = sigma[j * kSamples + b], from = j > 0 ? sigma[(j - 1) * kSamples + b] : 0;
      const double v = to * to - from * from;
      for (size_t i = 0; i < d; ++i) {
        float z[4];
        const auto block = static_cast<uint32_t>(j * ((d + 3) / 4) + i / 4);
        normalsFrom(philox(7, kWalk, 3, static_cast<uint32_t>(b), block), z);
        x[j][i] += static_cast<float>(std::sqrt(v) * z[i % 4]);
      }
      if (j == 0) continue;
      std::vector<float> denoised(d);
      Outputs out = {};
      out.denoised = denoised.data();
      const float* labels = s.labels.data() + b * labelDim(config);
      teacher.evaluate({Kind::kDenoiser, 1}, {1, x[j].data(), &to, labels, nullptr}, nullptr, out, Stop());
      for (size_t i = 0; i < d; ++i) {
        const double moved = double(x[j - 1][i]) - x[j][i],
                     h = 1 / (variances[((j - 1) * kSamples + b) * kGroups + i % kGroups] + to * to);
        const double tau = v * (1 - v * h), off = moved - v * (double(denoised[i]) - x[j][i]) / (to * to);
        a += moved * moved / (2 * v) + std::log(v) / 2 - off * off / (2 * tau) - std::log(tau) / 2;
      }
    }
    double energy[2];
    for (const int end : {0, kSteps}) {
      Outputs out = {};
      out.energy = &energy[end > 0];
      const float* labels = s.labels.data() + b * labelDim(config);
      s.network.evaluate({kind, scaleOf(kind)}, {1, x[end].data(), &sigma[end * kSamples + b], labels, nullptr},
                         nullptr, out, Stop());
    }
    const double want = energy[1] - energy[0] - a;
    CHECK(std::fabs(residual[b] - want) < 1e-4 * (1 + std::fabs(energy[0])), "%s walk %d: %g, not %g", name, b,
          residual[b], want);
  }
}

// A step on the rows of a setup as states at its noise levels, in micro-batches of two, that moves nothing.
TrainStep stepAtStates(const Setup& s, const Head& head, std::vector<double>& losses, std::vector<double>& sigmas) {
  TrainStep step = {head,
                    s.n,
                    2,
                    s.x.data(),
                    s.labels.data(),
                    0,
                    1,
                    0.01,
                    80,
                    0,
                    7,
                    3,
                    {0, 0.9, 0.999, 1e-8, 0, 0, 0.9},
                    losses.data(),
                    sigmas.data()};
  step.states = s.sigma.data();
  return step;
}

// Rows that are states at a noise of their own are taken as they are: the step's gradient is that of the explicit batch.
void testStates(const NetworkConfig& config, Kind kind) {
  Setup s(config, 3, 81);
  Network teacher(config, {}, newKernels);
  const auto teacherWeights = randomWeights(teacher, 82);
  teacher.write(Slot::kParams, teacherWeights.data());
  Outputs out = {};
  out.denoised = s.target.data();
  std::fill(s.augment.begin(), s.augment.end(), 0.0f);
  for (double& sigma : s.sigma) sigma = static_cast<float>(sigma);
  teacher.evaluate({Kind::kDenoiser, 1}, s.batch(), nullptr, out, Stop());
  const Head head = {kind, scaleOf(kind)};
  const double want = s.loss(head, s.weights);
  std::vector<float> wanted(s.weights.size()), found = wanted;
  s.network.read(Slot::kGrad, wanted.data());
  std::vector<double> losses(s.n), sigmas(s.n);
  TrainStep step = stepAtStates(s, head, losses, sigmas);
  const double loss = s.network.train(step, &teacher, Stop()).loss;
  s.network.read(Slot::kGrad, found.data());
  CHECK(std::fabs(loss / want - 1) < 1e-4 && relativeError(found, wanted) < 1e-4 && sigmas == s.sigma,
        "states: loss %g, not %g; gradient %g", loss, want, relativeError(found, wanted));
  const std::vector<double> some = {s.sigma[0], 0, 0};
  step.states = some.data();
  s.network.train(step, &teacher, Stop());
  CHECK(sigmas[0] == s.sigma[0] && sigmas[1] != s.sigma[1], "states: only of some rows");
}

// What a step is told of how its samples were changed reaches each of its micro-batches: the gradient is that of the explicit batch.
void testAugment(const NetworkConfig& config, Kind kind) {
  Setup s(config, 3, 91);
  for (double& sigma : s.sigma) sigma = static_cast<float>(sigma);
  const Head head = {kind, scaleOf(kind)};
  const double want = s.loss(head, s.weights);
  std::vector<float> wanted(s.weights.size()), found = wanted;
  s.network.read(Slot::kGrad, wanted.data());
  std::vector<double> losses(s.n), sigmas(s.n);
  TrainStep step = stepAtStates(s, head, losses, sigmas);
  step.targets = s.target.data();
  for (const float* told : {(const float*)s.augment.data(), (const float*)nullptr}) {
    s.network.write(Slot::kParams, s.weights.data());
    step.augment = told;
    const double loss = s.network.train(step, nullptr, Stop()).loss;
    s.network.read(Slot::kGrad, found.data());
    const double gap = std::max(std::fabs(loss / want - 1), double(relativeError(found, wanted)));
    CHECK(told ? gap < 1e-4 : gap > 1e-3, "augment %s: loss %g, wanted %g; gap %g", told ? "told" : "untold", loss,
          want, gap);
  }
}

}  // namespace

int main() {
  newKernels = onCpu;
  testTraining(unet(1, 8, 8, {1, 2}, 1, {4}, 3, 0));
  testTraining(withLabelMaps(unet(1, 4, 8, {1, 2}, 1, {4}, 3, 0)));
  testMuon(unet(1, 8, 8, {1, 2}, 1, {4}, 3, 0));
  testTraining(ResidualMlpConfig{2, 32, 2, 0, 1});
  testTraining(adm({1, 2}, 1), 0.3f);
  testDropout(unet(1, 4, 4, {1, 2}, 1, {}, 0, 0));
  testDropout(diffusers(true, DiffusersUNetConfig::kConv, 0, 4));
  for (const Kind kind : {Kind::kDot, Kind::kL2, Kind::kNorm, Kind::kJoint, Kind::kResidual}) {
    testLevels(unet(1, 4, 4, {1, 2}, 1, {4}, 0, 0), kind);
    testLevels(ResidualMlpConfig{2, 32, 2, 0, 1}, kind);
  }
  for (const Kind kind : {Kind::kDot, Kind::kResidual}) {
    testWalks(unet(2, 4, 4, {1, 2}, 1, {4}, 3, 0), kind, true);
    testWalks(ResidualMlpConfig{5, 32, 2, 4, 1}, kind, false);
  }
  testStates(unet(2, 4, 4, {1, 2}, 1, {4}, 3, 0), Kind::kResidual);
  testAugment(unet(2, 4, 4, {1, 2}, 1, {4}, 3, 2), Kind::kDenoiser);
  testAugment(unet(2, 4, 4, {1, 2}, 1, {4}, 3, 2), Kind::kDot);
  if (!cudaDevices().list.empty()) {
    newKernels = onCuda;
#ifdef FEYNKAC_EMULATED
    emulator::config.lazyStreams = true;  // so that streams that should wait for others must
#endif
    CHECK(checkCudaDevice(0).failure.empty(), "self-test: %s", checkCudaDevice(0).failure.c_str());
    testMuon(unet(1, 4, 4, {1, 2}, 0, {}, 3, 0));
    testTraining(ResidualMlpConfig{2, 32, 2, 0, 1});
    for (const Kind kind : {Kind::kDot, Kind::kResidual}) testLevels(ResidualMlpConfig{2, 32, 2, 0, 1}, kind);
    testWalks(ResidualMlpConfig{5, 32, 2, 4, 1}, Kind::kResidual, false);
  }
  return report("training");
}
