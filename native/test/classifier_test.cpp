// Classifiers against themselves: the gradient of the loss against finite differences along random directions, the loss against the
// logits, batches against their rows, micro-batches against whole batches, CUDA against the CPU.
#include "engine/classifier.h"

#include "kernels/common/random.h"
#include "trainable_cases.h"

using namespace feynkac;
using namespace feynkac::test;

namespace {

ClassifierConfig config(std::vector<int> classes, std::vector<int> channels = {8, 12}, int height = 8, int width = 4) {
  ClassifierConfig c = {};
  c.channels = 2;
  c.height = height;
  c.width = width;
  c.blockOutChannels = std::move(channels);
  c.layersPerBlock = 1;
  c.groups = 4;
  c.classes = std::move(classes);
  return c;
}

struct Setup {
  Setup(const ClassifierConfig& c, int batch, Trainable::MakeKernels make = onCpu)
      : classifier(c, std::move(make)), n(batch), weights(randomWeights(classifier, 11)) {
    classifier.write(Slot::kParams, weights.data());
    x = randomVector(n * c.imageSize(), 12);
    labels.resize(size_t(n) * classifier.labelSize());
    for (int b = 0; b < n; ++b) {
      float* row = labels.data() + size_t(b) * classifier.labelSize();
      for (size_t a = 0; a < c.classes.size(); row += c.classes[a++])
        if ((b + a) % 3 != 2) row[(b + 2 * a) % c.classes[a]] = 1.0f;  // the others are unknown
    }
    losses.resize(n);
  }
  ClassifierStep step(int microBatch) {
    return {{n, microBatch, 5, 2, {1e-3, 0.9, 0.999, 1e-8, 1, 1.0, 0.5}, losses.data()}, x.data(), labels.data(), 0.3};
  }
  double loss(const std::vector<float>& w, int microBatch) {
    classifier.write(Slot::kParams, w.data());
    return classifier.gradient(step(microBatch), Stop());
  }
  std::vector<float> gradient() {
    std::vector<float> out(weights.size());
    classifier.read(Slot::kGrad, out.data());
    return out;
  }
  Classifier classifier;
  int n;
  std::vector<float> weights, x, labels;
  std::vector<double> losses;
};

void testGradient(const char* name, const ClassifierConfig& c) {
  Setup s(c, 3);
  const double whole = s.loss(s.weights, 3);
  const auto gradient = s.gradient();
  for (uint32_t k = 0; k < 4; ++k) {
    const Slope slope =
        slopeOf(s.classifier, s.weights, gradient, 100 + k, [&](const std::vector<float>& w) { return s.loss(w, 3); });
    CHECK(slope.error < 2e-3, "%s: slope %.8g, difference %.8g", name, slope.exact, slope.difference);
  }
  const double parts = s.loss(s.weights, 2);
  CHECK(std::fabs(whole - parts) <= 1e-6 * whole, "%s: loss %.8g, in micro-batches %.8g", name, whole, parts);
  CHECK(relativeError(s.gradient(), gradient) < 1e-5, "%s: micro-batches, error %.2e", name,
        relativeError(s.gradient(), gradient));
}

// The loss is that of the logits of the noisy images, with the noise of random.h, over the classes that are known.
void testLoss(const char* name, const ClassifierConfig& c) {
  Setup s(c, 3);
  Classifier& k = s.classifier;
  const size_t d = c.imageSize(), width = k.labelSize();
  auto noisy = s.x;
  for (uint32_t row = 0; row < 3; ++row)
    for (uint32_t i = 0; i < d; ++i) {
      float normal[4];
      normalsFrom(philox(5, kNoise, 2, row, i / 4), normal);
      noisy[row * d + i] += static_cast<float>(0.3 * uniformAt(5, kSigma, 2, row, 0)) * normal[i % 4];
    }
  auto logits = poisoned(3 * width), features = poisoned(size_t(3) * k.featureSize());
  k.classify(3, noisy.data(), features.data(), logits.data(), Stop());
  double want = 0, known = 0;
  for (size_t b = 0; b < 3; ++b) {
    size_t at = b * width;
    for (const int n : c.classes) {
      double sum = 0;
      for (int i = 0; i < n; ++i) sum += std::exp(double(logits[at + i]));
      for (int i = 0; i < n; ++i) {
        want -= s.labels[at + i] * std::log(std::exp(double(logits[at + i])) / sum);
        known += s.labels[at + i];
      }
      at += n;
    }
  }
  const double got = k.gradient(s.step(3), Stop());
  CHECK(std::fabs(got - want / known) < 1e-5 * got, "%s: loss %.8g, by hand %.8g", name, got, want / known);

  auto one = poisoned(width), feature = poisoned(k.featureSize());
  k.classify(1, noisy.data() + d, feature.data(), one.data(), Stop());
  for (const auto& [row, all] : {std::pair(&one, &logits), std::pair(&feature, &features)}) {
    const auto n = static_cast<int64_t>(row->size());
    CHECK(relativeError(*row, std::vector<float>(all->begin() + n, all->begin() + 2 * n)) < 1e-6, "%s: row of a batch",
          name);
  }
  k.classify(1, noisy.data() + d, nullptr, nullptr, Stop());

  // without any class known there is nothing to learn, and nothing breaks
  std::fill(s.labels.begin(), s.labels.end(), 0.0f);
  CHECK(k.gradient(s.step(3), Stop()) == 0, "%s: loss of unknown classes", name);
  for (const float g : s.gradient()) CHECK(g == 0, "%s: gradient of unknown classes", name);
}

void testTraining(const ClassifierConfig& c) {
  Setup s(c, 8);
  s.classifier.initialise(3);
  ClassifierStep step = s.step(8);
  step.noise = 0;
  double first = 0, last = 0;
  for (uint32_t i = 1; i <= 60; ++i) {
    step.step = i;
    step.optimizer.step = i;
    step.optimizer.lr = 3e-3;
    last = s.classifier.train(step, Stop()).loss;
    if (i == 1) first = last;
  }
  CHECK(last < 0.2 * first, "training: loss from %.4g to %.4g", first, last);
}

void testCuda(const ClassifierConfig& c) {
  if (cudaDevices().list.empty()) return;
  Setup cpu(c, 2), gpu(c, 2, onCuda);
  cpu.classifier.gradient(cpu.step(2), Stop());
  gpu.classifier.gradient(gpu.step(1), Stop());
  CHECK(relativeError(gpu.losses, cpu.losses) < 1e-5, "cuda: losses, error %.2e",
        relativeError(gpu.losses, cpu.losses));
  CHECK(relativeError(gpu.gradient(), cpu.gradient()) < 1e-4, "cuda: gradient, error %.2e",
        relativeError(gpu.gradient(), cpu.gradient()));
}

void testRefusals() {
  const auto refused = [](const ClassifierConfig& c) {
    try {
      const Classifier k(c, onCpu);
      return false;
    } catch (const std::invalid_argument&) {
      return true;
    }
  };
  CHECK(refused(config({3}, {8, 12}, 7, 4)), "an odd side");
  CHECK(refused(config({3}, {8, 14})), "groups that do not divide");
  CHECK(refused(config({3}, {})), "no levels");
  CHECK(refused(config({})), "no attributes");
  CHECK(refused(config({3, 0})), "an attribute without classes");
}

}  // namespace

int main() {
  testGradient("one attribute", config({5}));
  testGradient("three", config({2, 1, 3}, {8}, 5, 3));
  testLoss("one attribute", config({5}));
  testLoss("three", config({2, 1, 3}, {8, 8, 12}, 4, 12));
  testTraining(config({3, 2}));
  testCuda(config({3, 2}));
  testRefusals();
  return report("classifier");
}
