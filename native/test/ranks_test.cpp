// Steps of training that several processes share, here threads: the order of the sums, and the same bits from any number of them.
#include <string>

#include "engine/autoencoder.h"
#include "engine/classifier.h"
#include "network_cases.h"
#include "ranks/tree_sum.h"
#include "together.h"

using namespace feynkac;
using namespace feynkac::test;

namespace {

// The tree over parts first .. last - 1, by its definition.
float byDefinition(const std::vector<float>& parts, size_t first, size_t last) {
  if (last - first == 1) return parts[first];
  size_t cut = 1;
  while (2 * cut < last - first) cut *= 2;
  const float left = byDefinition(parts, first, first + cut), right = byDefinition(parts, first + cut, last);
  return left + right;
}

void testTree() {
  constexpr size_t kLength = 1500;  // more than a block
  for (size_t leaves = 1; leaves <= 40; ++leaves) {
    std::vector<std::vector<float>> values;
    values.reserve(leaves);
    for (size_t p = 0; p < leaves; ++p) values.push_back(randomVector(kLength, uint32_t(100 * leaves + p)));
    std::vector<float> expected;
    for (size_t i = 0; i < kLength; ++i) {
      std::vector<float> column;
      column.reserve(leaves);
      for (const auto& v : values) column.push_back(v[i]);
      expected.push_back(byDefinition(column, 0, leaves));
    }
    // shared by any number of holders, who add their own nodes up beforehand
    for (size_t holders = 1; holders <= leaves; ++holders) {
      std::vector<TreeNode> nodes;
      for (size_t r = 0; r < holders; ++r)
        nodesOf({0, leaves}, r * leaves / holders, (r + 1) * leaves / holders, nodes);
      std::vector<std::vector<float>> sums;
      for (const TreeNode& node : nodes) {
        std::vector<TreeNode> alone;
        for (size_t k = 0; k < node.last - node.first; ++k) alone.push_back({k, k + 1});
        sums.emplace_back(kLength);
        treeSum(sums.back().data(), alone, kLength, [&](size_t p) { return values[node.first + p].data(); });
      }
      std::vector<float> out(kLength, NAN);
      treeSum(out.data(), nodes, kLength, [&](size_t p) { return sums[p].data(); });
      CHECK(out == expected, "%zu leaves, %zu holders", leaves, holders);
      if (leaves % holders == 0 && (leaves / holders & (leaves / holders - 1)) == 0)
        CHECK(nodes.size() == holders, "%zu leaves, %zu holders: %zu nodes", leaves, holders, nodes.size());
    }
  }
}

// The weights after two steps of six micro-batches of two, and all that the steps report.
std::vector<double> trained(const NetworkConfig& config, Kind kind, bool distil, const Share& share) {
  constexpr int kBatch = 12, kWalks = 8, kLevels = 3, kSamples = 7;
  Network student(config, {}, newKernels, kind == Kind::kJoint), teacher(config, {}, newKernels);
  student.initialise(3);
  const auto taught = randomVector(teacher.parameters().torchSize(), 4, 0.2f);
  teacher.write(Slot::kParams, taught.data());
  const auto x0 = randomVector(kBatch * student.sampleSize(), 5, 0.5f);
  std::vector<double> report;
  for (int k = 1; k <= 2; ++k) {
    std::vector<double> losses(kBatch, NAN), sigmas(kBatch), walked(kWalks, NAN), cross(kSamples, NAN),
        residual(kLevels * kSamples, NAN);
    TrainStep step = sharedStep(kind, k, x0, losses, sigmas, share);
    std::vector<double> sigma, free(kLevels * kSamples, 0.0), walkSigma;
    for (int j = 0; j < kLevels; ++j)
      for (int i = 0; i < kSamples; ++i) sigma.push_back(std::exp(0.4 * i - 1.5 + 0.3 * j));
    const std::vector<int32_t> truth = {2, 0, 1, 1, 0, 2, 1}, group(student.sampleSize(), 0);
    const LevelStep levels = {kLevels,      kSamples,    0.7,          sigma.data(),
                              truth.data(), free.data(), cross.data(), residual.data()};
    for (int j = 0; j < 3; ++j)
      for (int i = 0; i < kWalks; ++i) walkSigma.push_back(std::exp(0.3 * i - 1 + 0.1 * j));
    const std::vector<double> constant(kWalks, 0.1), one(kWalks, 1.0), variances(2 * kWalks, 0.5);
    const WalkStep walks = {
        2,     kWalks,       1, 0.1, walkSigma.data(), constant.data(), one.data(), variances.data(), group.data(),
        false, walked.data()};
    if (kind != Kind::kDenoiser && distil) step.walks = &walks;
    if (kind != Kind::kDenoiser && !distil) step.levels = &levels;
    const TrainResult result = student.train(step, distil ? &teacher : nullptr, Stop());
    report.insert(report.end(), {result.loss, result.gradNorm, result.energyLoss});
    for (const auto& list : {losses, sigmas}) report.insert(report.end(), list.begin(), list.end());
    if (step.walks) report.insert(report.end(), walked.begin(), walked.end());
    if (step.levels) report.insert(report.end(), residual.begin(), residual.end());
    if (step.levels) report.insert(report.end(), cross.begin(), cross.end());
  }
  std::vector<float> weights(student.parameters().torchSize());
  for (const Slot slot : {Slot::kParams, Slot::kEma}) {
    student.read(slot, weights.data());
    report.insert(report.end(), weights.begin(), weights.end());
  }
  return report;
}

void testNetworks(const std::string& where, const std::vector<int>& sizes) {
  for (const bool distil : {false, true})
    for (const Kind kind : {Kind::kDenoiser, Kind::kDot, Kind::kJoint, Kind::kResidual}) {
      if (distil ? kind == Kind::kJoint : kind == Kind::kResidual) continue;
      testShared(where + " " + kKindNames[static_cast<int>(kind)], sizes, [&](const Share& share) {
        return trained(ResidualMlpConfig{3, 16, 2, 0, 1}, kind, distil, share);
      });
    }
}

template <class Net, class Step>
std::vector<double> imagesTrained(Net& network, Step step, const Share& share) {
  std::vector<double> losses(8, NAN);
  static_cast<TrainingStep&>(step) = {8, 2, 5, 1, {1e-3, 0.9, 0.999, 1e-8, 1, 1.0, 0.9}, losses.data(), share};
  network.initialise(1);
  const TrainResult result = network.train(step, Stop());
  std::vector<float> weights(network.parameters().torchSize());
  network.read(Slot::kParams, weights.data());
  losses.insert(losses.end(), {result.loss, result.gradNorm});
  losses.insert(losses.end(), weights.begin(), weights.end());
  return losses;
}

void testImages() {
  const auto x = randomVector(8 * 16, 2);
  std::vector<float> labels(8 * 3, 0);
  for (size_t i = 0; i < 7; ++i) labels[3 * i + i % 3] = 1;  // the last one has no class
  testShared("autoencoder", {2, 3, 4}, [&](const Share& share) {
    AutoencoderConfig c = {};
    c.channels = 1;
    c.height = c.width = c.groups = 4;
    c.blockOutChannels = {4};
    c.layersPerBlock = c.latentChannels = 1;
    Autoencoder network(c, newKernels);
    AutoencoderStep step;
    step.x = x.data();
    step.noise = 0.1;
    return imagesTrained(network, step, share);
  });
  testShared("classifier", {2, 3, 4}, [&](const Share& share) {
    ClassifierConfig c = {};
    c.channels = 1;
    c.height = c.width = c.groups = 4;
    c.blockOutChannels = {4};
    c.layersPerBlock = 1;
    c.classes = {3};
    Classifier network(c, newKernels);
    ClassifierStep step;
    step.x = x.data();
    step.labels = labels.data();
    step.noise = 0.1;
    return imagesTrained(network, step, share);
  });
}

void testRefusals() {
  const auto refuses = [](int batch, int most, int size) {
    Share share;
    share.size = size;
    try {
      microBatchesOf(batch, most, share);
      return false;
    } catch (const std::invalid_argument&) {
      return true;
    }
  };
  CHECK(refuses(12, 4, 4) && refuses(8, 8, 2), "fewer micro-batches than processes");
  CHECK(!refuses(12, 4, 3) && !refuses(12, 5, 2) && !refuses(8, 8, 1), "a micro-batch for each process");
}

}  // namespace

int main() {
  testTree();
  testRefusals();
  newKernels = onCpu;
  testNetworks("cpu", {2, 3, 4, 5, 6});
  testImages();
  if (!cudaDevices().list.empty()) {
    newKernels = onCuda;
#ifdef FEYNKAC_EMULATED
    emulator::config.lazyStreams = true;  // so that what leaves before it is done shows
#endif
    testNetworks("cuda", {4});
  }
  return report("ranks");
}
