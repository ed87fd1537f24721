// Small networks of every architecture, with weights and a batch, for the tests of whole networks.
#pragma once

#include <algorithm>
#include <utility>

#include "engine/network.h"
#include "trainable_cases.h"

namespace feynkac::test {

// The backend of the tests that follow.
inline std::unique_ptr<Kernels> (*newKernels)() = nullptr;

inline const char* const kKindNames[] = {"denoiser", "dot", "l2", "norm", "joint", "residual"};
inline double scaleOf(Kind kind) { return kind == Kind::kDot || kind == Kind::kJoint ? 0.5 : 1.0; }

inline EdmUNetConfig unet(int channels, int height, int width, std::vector<int> mult, int blocks,
                          std::vector<int> attention, int labels, int augment, std::vector<float> filter = {1, 1}) {
  return {false,
          std::max(height, width),
          height,
          width,
          channels,
          labels,
          augment,
          8,
          std::move(mult),
          2,
          1,
          blocks,
          std::move(attention),
          std::move(filter),
          false,
          EdmUNetConfig::kStandard,
          false,
          false};
}

inline EdmUNetConfig withLabelMaps(EdmUNetConfig c) {
  c.labelMaps = true;
  return c;
}

inline EdmUNetConfig ncsnpp(EdmUNetConfig::Encoder encoder, bool skipDecoder) {
  EdmUNetConfig c = unet(2, 8, 4, {1, 2}, 1, {4}, 0, 0, {1, 3, 3, 1});
  c.channelMultNoise = 2;
  c.fourier = true;
  c.encoder = encoder;
  c.skipDecoder = skipDecoder;
  return c;
}

// 64 channels: one head; fewer: none
inline EdmUNetConfig adm(std::vector<int> mult, int blocks) {
  EdmUNetConfig c = unet(2, 4, 4, std::move(mult), blocks, {2}, 3, 2);
  c.adm = true;
  return c;
}

inline DiffusersUNetConfig diffusers(bool scaleShift, DiffusersUNetConfig::Resampling type, int padding, int headDim) {
  DiffusersUNetConfig c = {};
  c.height = 4;
  c.width = 8;
  c.inChannels = 2;
  c.blockOutChannels = {8, 12};
  c.downAttention = {1, 0};
  c.upAttention = {0, 1};
  c.layersPerBlock = 1;
  c.midBlock = c.midAttention = true;
  c.midScaleFactor = 1.5;
  c.downType = c.upType = type;
  c.downPadding = padding;
  c.headDim = headDim;
  c.groups = 4;
  c.midGroups = scaleShift ? 0 : 4;
  c.eps = 1e-5;
  c.scaleShift = scaleShift;
  c.timeEmbedding = scaleShift ? DiffusersUNetConfig::kFourier : DiffusersUNetConfig::kPositional;
  c.timesteps = 5;
  c.cosFirst = true;
  c.timeDim = 16;
  c.classEmbedding = headDim > 0 ? DiffusersUNetConfig::kTable : DiffusersUNetConfig::kIdentity;
  c.classes = 3;
  return c;
}

struct Setup {
  Setup(const NetworkConfig& config, int batch, uint32_t seed, const Preconditioning& p = {}, bool joint = false)
      : network(config, p, newKernels, joint), preconditioning(p), n(batch) {
    const size_t d = network.sampleSize();
    weights = randomWeights(network, seed);
    network.write(Slot::kParams, weights.data());
    for (int i = 0; i < batch; ++i) sigma.push_back(0.05 * std::pow(6.0, i));
    x = randomVector(batch * d, seed + 1);
    v = randomVector(batch * d, seed + 2);
    target = randomVector(batch * d, seed + 3, 0.5f);
    labels = randomVector(batch * std::max(1, labelDim(config)), seed + 4);
    augment = randomVector(batch * std::max(1, augmentDim(config)), seed + 5);
  }
  Batch batch() const { return {n, x.data(), sigma.data(), labels.data(), augment.data()}; }
  double loss(const Head& head, const std::vector<float>& w) {
    network.write(Slot::kParams, w.data());
    return network.gradient(head, batch(), target.data(), Stop());
  }
  // The joint loss with what the energy learns held as it is at `weights`, so that the loss's slope is its gradient.
  double frozenLoss(const Head& head, const std::vector<float>& w) {
    const size_t all = x.size(), d = network.sampleSize();
    std::vector<float> frozen(all), raw(all), phiGrad(all);
    const auto evaluate = [&](const std::vector<float>& at, float* h, float* g) {
      network.write(Slot::kParams, at.data());
      Outputs out = {};
      out.raw = h;
      out.phiGrad = g;
      network.evaluate(head, batch(), nullptr, out, Stop());
    };
    evaluate(weights, frozen.data(), nullptr);
    evaluate(w, raw.data(), phiGrad.data());
    const Levels levels(n, sigma.data(), preconditioning);
    const auto ofTarget = levels.residualOfDenoised(), ofX = levels.residualOfX();
    double sum = 0;
    for (size_t i = 0; i < all; ++i) {
      const double residual = double(ofTarget[i / d]) * target[i] + double(ofX[i / d]) * x[i];
      sum += std::pow(raw[i] - residual, 2) + head.energyWeight * std::pow(double(phiGrad[i]) - frozen[i], 2);
    }
    return sum / double(all);
  }

  Network network;
  Preconditioning preconditioning;
  int n;
  std::vector<float> weights, x, v, target, labels, augment;
  std::vector<double> sigma;
};

// Step k of a training that processes share, without labels or a teacher, in micro-batches of two.
inline TrainStep sharedStep(Kind kind, int k, const std::vector<float>& x0, std::vector<double>& losses,
                            std::vector<double>& sigmas, const Share& share) {
  TrainStep step = {{kind, 0.5, 0.7},
                    static_cast<int>(losses.size()),
                    2,
                    x0.data(),
                    nullptr,
                    -1.2,
                    1.2,
                    0.01,
                    80,
                    0.1f,
                    42,
                    static_cast<uint32_t>(k),
                    {1e-3, 0.9, 0.999, 1e-8, k, 1.0, 0.9},
                    losses.data(),
                    sigmas.data()};
  step.share = share;
  return step;
}

}  // namespace feynkac::test
