// Autoencoders against themselves: the gradient of the loss against finite differences along random directions, batches
// against their rows, micro-batches against whole batches, CUDA against the CPU.
#include "engine/autoencoder.h"

#include <cstring>

#include "kernels/common/random.h"
#include "trainable_cases.h"

using namespace feynkac;
using namespace feynkac::test;

namespace {

AutoencoderConfig config(bool doubleZ, bool attention, int height = 8, int width = 4) {
  AutoencoderConfig c = {};
  c.channels = 2;
  c.height = height;
  c.width = width;
  c.blockOutChannels = {8, 12};
  c.layersPerBlock = 1;
  c.latentChannels = 3;
  c.groups = 4;
  c.doubleZ = c.quantConv = c.postQuantConv = doubleZ;
  c.midAttention = attention;
  return c;
}

struct Setup {
  Setup(const AutoencoderConfig& c, int batch, Trainable::MakeKernels make = onCpu)
      : autoencoder(c, std::move(make)), n(batch), weights(randomWeights(autoencoder, 11)) {
    autoencoder.write(Slot::kParams, weights.data());
    x = randomVector(n * autoencoder.imageSize(), 12);
    losses.resize(n);
  }
  AutoencoderStep step(int microBatch) {
    return {{n, microBatch, 5, 2, {1e-3, 0.9, 0.999, 1e-8, 1, 1.0, 0.5}, losses.data()}, x.data(), 0.3};
  }
  double loss(const std::vector<float>& w, int microBatch) {
    autoencoder.write(Slot::kParams, w.data());
    return autoencoder.gradient(step(microBatch), Stop());
  }
  std::vector<float> gradient() {
    std::vector<float> out(weights.size());
    autoencoder.read(Slot::kGrad, out.data());
    return out;
  }
  Autoencoder autoencoder;
  int n;
  std::vector<float> weights, x;
  std::vector<double> losses;
};

void testGradient(const char* name, const AutoencoderConfig& c) {
  Setup s(c, 3);
  const double whole = s.loss(s.weights, 3);
  const auto gradient = s.gradient();
  for (uint32_t k = 0; k < 4; ++k) {
    const Slope slope =
        slopeOf(s.autoencoder, s.weights, gradient, 100 + k, [&](const std::vector<float>& w) { return s.loss(w, 3); });
    CHECK(slope.error < 2e-3, "%s: slope %.8g, difference %.8g", name, slope.exact, slope.difference);
  }
  const double parts = s.loss(s.weights, 2);
  CHECK(std::fabs(whole - parts) <= 1e-6 * whole, "%s: loss %.8g, in micro-batches %.8g", name, whole, parts);
  CHECK(relativeError(s.gradient(), gradient) < 1e-5, "%s: micro-batches, error %.2e", name,
        relativeError(s.gradient(), gradient));
}

// The loss is that of decode(mean + noise), with the noise of random.h.
void testLoss(const char* name, const AutoencoderConfig& c) {
  Setup s(c, 2);
  Autoencoder& a = s.autoencoder;
  auto z = poisoned(2 * a.latentSize()), y = poisoned(2 * a.imageSize());
  auto logVariance = poisoned(c.doubleZ ? z.size() : 0);
  a.encode(2, s.x.data(), z.data(), c.doubleZ ? logVariance.data() : nullptr, Stop());
  for (const float v : logVariance) CHECK(v >= -30 && v <= 20, "%s: log variance %g", name, v);
  a.decode(2, z.data(), y.data(), Stop());
  CHECK(std::isfinite(relativeError(y, s.x)), "%s: decoded", name);
  auto one = poisoned(a.imageSize());
  a.decode(1, z.data() + a.latentSize(), one.data(), Stop());
  const std::vector<float> second(y.begin() + static_cast<int64_t>(a.imageSize()), y.end());
  CHECK(relativeError(one, second) < 1e-6, "%s: row of a batch, error %.2e", name, relativeError(one, second));
  // the engine's latents are channels last where the noise is added
  const SampleShape shape = latentShape(c);
  const int points = shape.height * shape.width;
  for (uint32_t row = 0; row < 2; ++row)
    for (int p = 0; p < points; ++p)
      for (int k = 0; k < shape.channels; ++k) {
        const auto i = static_cast<uint32_t>(p * shape.channels + k);
        float normal[4];
        normalsFrom(philox(5, kLatent, 2, row, i / 4), normal);
        z[row * a.latentSize() + k * points + p] += 0.3f * normal[i % 4];
      }
  a.decode(2, z.data(), y.data(), Stop());
  double want = 0;
  for (size_t i = 0; i < y.size(); ++i) want += (double(y[i]) - s.x[i]) * (double(y[i]) - s.x[i]) / double(y.size());
  const double got = a.gradient(s.step(2), Stop());
  CHECK(std::fabs(got - want) < 1e-5 * want, "%s: loss %.8g, decoded by hand %.8g", name, got, want);
}

void testTraining(const AutoencoderConfig& c) {
  Setup s(c, 4);
  s.autoencoder.initialise(3);
  AutoencoderStep step = s.step(4);
  step.noise = 0.02;
  double first = 0, last = 0;
  for (uint32_t i = 1; i <= 60; ++i) {
    step.step = i;
    step.optimizer.step = i;
    step.optimizer.lr = 3e-3;
    last = s.autoencoder.train(step, Stop()).loss;
    if (i == 1) first = last;
  }
  CHECK(last < 0.6 * first, "training: loss from %.4g to %.4g", first, last);
}

void testCuda(const AutoencoderConfig& c) {
  if (cudaDevices().list.empty()) return;
  Setup cpu(c, 2), gpu(c, 2, onCuda);
  cpu.autoencoder.gradient(cpu.step(2), Stop());
  gpu.autoencoder.gradient(gpu.step(1), Stop());
  CHECK(relativeError(gpu.losses, cpu.losses) < 1e-5, "cuda: losses, error %.2e",
        relativeError(gpu.losses, cpu.losses));
  CHECK(relativeError(gpu.gradient(), cpu.gradient()) < 1e-4, "cuda: gradient, error %.2e",
        relativeError(gpu.gradient(), cpu.gradient()));
}

void testRefusals() {
  const auto refused = [](const AutoencoderConfig& c) {
    try {
      const Autoencoder a(c, onCpu);
      return false;
    } catch (const std::invalid_argument&) {
      return true;
    }
  };
  CHECK(refused(config(true, true, 7, 4)), "an odd side");
  AutoencoderConfig c = config(true, true);
  c.groups = 5;
  CHECK(refused(c), "groups that do not divide");
}

}  // namespace

int main() {
  for (const bool doubleZ : {false, true})
    for (const bool attention : {false, true}) {
      const std::string name = std::string(doubleZ ? "moments" : "mean") + (attention ? ", attention" : "");
      testGradient(name.c_str(), config(doubleZ, attention));
      testLoss(name.c_str(), config(doubleZ, attention, 4, 12));
    }
  testTraining(config(false, true));
  testCuda(config(true, true));
  testRefusals();
  return report("autoencoder");
}
