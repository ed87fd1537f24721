#include "engine/classifier.h"

#include <algorithm>

#include "engine/diffusers_blocks.h"
#include "engine/networks.h"
#include "kernels/common/random.h"

namespace feynkac {
namespace {

using Config = ClassifierConfig;

constexpr const char* kName = "ConvClassifier";
constexpr double kEps = 1e-6;

struct Ends {
  VarId in, features, logits;
};

Ends buildClassifier(const Config& c, int labels, Parameters& p, Program& g) {
  using Updown = DiffusersBlocks::Updown;
  const DiffusersBlocks b = {kName, p, g, c.groups, kEps};
  const VarId in = g.variable(c.height, c.width, c.channels, true, true);
  VarId x = b.conv("conv_in", in, 3, c.blockOutChannels[0]);
  for (size_t i = 0; i < c.blockOutChannels.size(); ++i)
    for (int j = 0; j < c.layersPerBlock; ++j) {
      const std::string name = "levels." + std::to_string(i) + ".blocks." + std::to_string(j);
      x = b.resnet(name, x, c.blockOutChannels[i], 1, i > 0 && j == 0 ? Updown::kDown : Updown::kNone);
    }
  const VarId features = g.pool(b.norm("norm_out", x, c.groups, true));
  return {in, features, b.linear("head", features, labels)};
}

std::vector<int32_t> offsetsOf(const std::vector<int>& classes) {
  std::vector<int32_t> offsets = {0};
  for (const int n : classes) offsets.push_back(offsets.back() + n);
  return offsets;
}

}  // namespace

void validate(const Config& c) {
  validate(c, kName);
  const auto require = [](bool ok, const char* what) { requireSetting(ok, kName, what); };
  require(!c.classes.empty() && c.classes.size() <= 4096, "classes must have 1 to 4096 entries");
  int64_t sum = 0;
  for (const int n : c.classes) {
    require(n >= 1, "classes must be at least 1");
    sum += n;
  }
  require(sum <= 1 << 20, "there may be 1048576 classes in all");
}

struct Classifier::Run : ImageJob {
  Run(Job j, int n, const Weights* weights) : ImageJob(n, weights), job(j) {}
  const Job job;
  // filled before a run: label vectors, offsets of the attributes, standard deviation of the noise on each image
  Buffer labels = kNone, offsets = kNone, std = kNone;
  // read after it; losses: float64 per sample
  Buffer features = kNone, logits = kNone, losses = kNone;
};

Classifier::Classifier(Config config, MakeKernels makeKernels)
    : Trainable(std::move(makeKernels)), config_(std::move(config)) {
  validate(config_);
  offsets_ = offsetsOf(config_.classes);
  Program sizes(1, nullptr);
  buildClassifier(config_, labelSize(), parameters_, sizes);
  packings_ = sizes.packings;
}

Classifier::~Classifier() = default;

int Classifier::labelSize() const { return offsets_.back(); }

std::unique_ptr<Classifier::Run> Classifier::layOut(Job job, int batch) {
  auto owner = std::make_unique<Run>(job, batch, &weights_);
  Run* r = owner.get();
  Program& g = r->program;
  Plan& plan = g.plan;
  const auto [in, features, logits] = buildClassifier(config_, labelSize(), r->declared, g);
  r->takeInput(in);
  g.primal();
  if (job == Job::kClassify) {
    r->features = g.x(features);
    r->logits = g.x(logits);
    plan.pin(r->features);
    plan.pin(r->logits);
  } else {
    const int width = labelSize(), attributes = static_cast<int>(config_.classes.size());
    r->labels = plan.pinned(size_t(batch) * width * sizeof(float));
    r->offsets = plan.pinned(offsets_.size() * sizeof(int32_t));
    r->std = plan.pinned(batch * sizeof(float));
    r->losses = plan.pinned(batch * sizeof(double));
    const Buffer v = g.b(logits), value = g.x(logits);
    plan.op({v, r->losses, value, r->labels, r->offsets}, [=, &plan](Kernels& k) {
      k.run(op::CrossEntropy{plan.at(v), plan.at<double>(r->losses), plan.at(value), plan.at(r->labels),
                             plan.at<int32_t>(r->offsets), r->lossWeight, batch, attributes, width});
    });
    g.backward({true, false}, {logits});
  }
  plan.layOut();
  return owner;
}

Classifier::Run& Classifier::prepare(Job job, int batch) {
  Run& run =
      runs_.find([&](const Run& r) { return r.job == job && r.batch == batch; }, [&] { return layOut(job, batch); });
  equip(run.program);
  run.fillOnes(*kernels_);
  return run;
}

void Classifier::classify(int n, const float* x, float* features, float* logits, const Stop& stop) {
  const std::lock_guard<std::mutex> lock(mutex_);
  stop.check();
  makeReady();
  Run& run = prepare(Job::kClassify, n);
  Plan& plan = run.program.plan;
  kernels_->upload(plan.at(run.from), x, n * config_.imageSize() * sizeof(float));
  plan.run(*kernels_, stop);
  if (features) kernels_->download(features, plan.at(run.features), size_t(n) * featureSize() * sizeof(float));
  if (logits) kernels_->download(logits, plan.at(run.logits), size_t(n) * labelSize() * sizeof(float));
}

Trainable::Pass Classifier::passOf(const ClassifierStep& step, double known, const Stop& stop) {
  return [this, &step, known, &stop](int first, int n) {
    Run& run = prepare(Job::kTrain, n);
    Plan& plan = run.program.plan;
    const size_t d = config_.imageSize(), width = labelSize();
    kernels_->upload(plan.at(run.from), step.x + first * d, n * d * sizeof(float));
    kernels_->upload(plan.at(run.labels), step.labels + first * width, n * width * sizeof(float));
    kernels_->upload(plan.at(run.offsets), offsets_.data(), offsets_.size() * sizeof(int32_t));
    if (step.noise > 0) {
      std::vector<float> std(n);
      for (int i = 0; i < n; ++i)
        std[i] = static_cast<float>(step.noise * uniformAt(step.seed, kSigma, step.step, uint32_t(first + i), 0));
      kernels_->upload(plan.at(run.std), std.data(), n * sizeof(float));
      kernels_->run(op::AddNoise{plan.at(run.from), plan.at(run.from), plan.at(run.std), step.seed, kNoise, step.step,
                                 static_cast<uint32_t>(first), n, d});
    }
    run.setLossWeight(1.0 / known);
    runPasses(run.program, stop);
    return plan.at<double>(run.losses);
  };
}

namespace {

// Attributes of the batch that have a class. Without any there is no loss and no gradient, whatever they are divided by.
double knownOf(const ClassifierStep& step, int width) {
  double sum = 0;
  for (size_t i = 0; i < size_t(step.batch) * width; ++i) sum += step.labels[i];
  return std::max(1.0, sum);
}

}  // namespace

TrainResult Classifier::train(const ClassifierStep& step, const Stop& stop) {
  const double known = knownOf(step, labelSize());
  return trainStep(step, known / step.batch, passOf(step, known, stop), stop);
}

double Classifier::gradient(const ClassifierStep& step, const Stop& stop) {
  const double known = knownOf(step, labelSize());
  return lossOfStep(step, known / step.batch, passOf(step, known, stop), stop);
}

size_t Classifier::workingBytes(Job job, int batch) { return layOut(job, batch)->program.plan.arenaBytes(); }

}  // namespace feynkac
