// Random weights of networks, and the gradient of a loss against its differences, for the tests of what can be trained.
#pragma once

#include <algorithm>

#include "check.h"
#include "engine/trainable.h"

namespace feynkac::test {

inline std::unique_ptr<Kernels> onCpu() { return std::unique_ptr<Kernels>(makeCpuKernels()); }
inline std::unique_ptr<Kernels> onCuda() { return std::unique_ptr<Kernels>(makeCudaKernels(0, Precision::kFp32)); }

// In torch layout, one tensor after the other.
inline std::vector<float> randomWeights(const Trainable& network, uint32_t seed) {
  auto weights = randomVector(network.parameters().torchSize(), seed, 0.25f);
  for (const Parameter& p : network.parameters().list()) {
    float* w = weights.data() + p.torchOffset;
    // wide layers: sums of order 1, so that differences of the loss are those of its slope
    const float scale = p.shape.size() > 1 ? std::min(1.0f, 4.0f / std::sqrt(float(p.size) / float(p.shape[0]))) : 1;
    const bool gain = p.name.find("norm") != std::string::npos && p.name.find("weight") != std::string::npos;
    for (size_t i = 0; i < p.size; ++i) w[i] = gain ? 1.0f + w[i] : scale * w[i];
  }
  return weights;
}

// A direction in the space of the weights; buffers of the state dict stay as they are.
inline std::vector<float> directionOf(const Trainable& network, uint32_t seed) {
  auto direction = randomVector(network.parameters().torchSize(), seed);
  for (const Parameter& p : network.parameters().list())
    if (p.buffer) std::fill_n(direction.begin() + static_cast<int64_t>(p.torchOffset), p.size, 0.0f);
  return direction;
}

// A loss along a random direction of the weights against its gradient at `weights`.
struct Slope {
  double difference, exact;
  double error;  // over the gradient's norm
};
template <class Loss>
Slope slopeOf(const Trainable& network, const std::vector<float>& weights, const std::vector<float>& gradient,
              uint32_t seed, const Loss& loss) {
  const auto direction = directionOf(network, seed);
  double exact = 0, norm = 0;
  for (size_t i = 0; i < weights.size(); ++i) {
    exact += double(gradient[i]) * direction[i];
    norm += double(gradient[i]) * gradient[i];
  }
  const auto at = [&](double eps) {
    auto w = weights;
    for (size_t i = 0; i < w.size(); ++i) w[i] += static_cast<float>(eps * direction[i]);
    return loss(w);
  };
  const double h = 1e-3, difference = (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h);
  return {difference, exact, std::fabs(difference - exact) / std::sqrt(norm)};
}

}  // namespace feynkac::test
