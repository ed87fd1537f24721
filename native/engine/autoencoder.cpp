#include "engine/autoencoder.h"

#include <algorithm>
#include <stdexcept>

#include "engine/diffusers_blocks.h"
#include "kernels/common/random.h"

namespace feynkac {
namespace {

using Config = AutoencoderConfig;

constexpr const char* kName = "AutoencoderKL";
constexpr double kEps = 1e-6;

DiffusersBlocks blocksOf(const Config& c, Parameters& p, Program& g) { return {kName, p, g, c.groups, kEps}; }

struct Ends {
  VarId in, out;
};

// Moments of the latents: mean and, with doubleZ, log variance.
Ends buildEncoder(const Config& c, Parameters& p, Program& g) {
  const DiffusersBlocks b = blocksOf(c, p, g);
  const VarId in = g.variable(c.height, c.width, c.channels, true, true);
  const int levels = static_cast<int>(c.blockOutChannels.size());
  VarId x = b.conv("encoder.conv_in", in, 3, c.blockOutChannels[0]);
  for (int i = 0; i < levels; ++i) {
    const std::string name = "encoder.down_blocks." + std::to_string(i);
    for (int j = 0; j < c.layersPerBlock; ++j)
      x = b.resnet(name + ".resnets." + std::to_string(j), x, c.blockOutChannels[i]);
    if (i < levels - 1) x = b.down(name + ".downsamplers.0", x, 0);
  }
  x = b.middle("encoder.mid_block", x, c.midAttention, c.groups);
  x = b.norm("encoder.conv_norm_out", x, c.groups, true);
  const int moments = c.latentChannels * (c.doubleZ ? 2 : 1);
  x = b.conv("encoder.conv_out", x, 3, moments);
  if (c.quantConv) x = b.conv("quant_conv", x, 1, moments);
  return {in, x};
}

VarId buildDecoder(const Config& c, Parameters& p, Program& g, VarId x) {
  const DiffusersBlocks b = blocksOf(c, p, g);
  const int levels = static_cast<int>(c.blockOutChannels.size());
  if (c.postQuantConv) x = b.conv("post_quant_conv", x, 1, c.latentChannels);
  x = b.conv("decoder.conv_in", x, 3, c.blockOutChannels.back());
  x = b.middle("decoder.mid_block", x, c.midAttention, c.groups);
  for (int i = 0; i < levels; ++i) {
    const std::string name = "decoder.up_blocks." + std::to_string(i);
    for (int j = 0; j <= c.layersPerBlock; ++j)
      x = b.resnet(name + ".resnets." + std::to_string(j), x, c.blockOutChannels[levels - 1 - i]);
    if (i < levels - 1) x = b.up(name + ".upsamplers.0", x);
  }
  x = b.norm("decoder.conv_norm_out", x, c.groups, true);
  return b.conv("decoder.conv_out", x, 3, c.channels);
}

VarId latentVariable(const Config& c, Program& g, bool active) {
  const SampleShape s = latentShape(c);
  return g.variable(s.height, s.width, s.channels, active, true);
}

int points(const SampleShape& s) { return s.height * s.width; }

}  // namespace

SampleShape latentShape(const Config& c) {
  const int halvings = static_cast<int>(c.blockOutChannels.size()) - 1;
  return {c.latentChannels, c.height >> halvings, c.width >> halvings};
}

void validate(const Config& c) {
  validate(c, kName);
  requireSetting(c.latentChannels >= 1 && c.latentChannels <= 4096, kName, "latent_channels must be from 1 to 4096");
}

struct Autoencoder::Run : ImageJob {
  Run(Job j, int n, const Weights* weights) : ImageJob(n, weights), job(j) {}
  const Job job;
  // filled before a run: the latents' noise times its standard deviation
  Buffer noise = kNone, std = kNone;  // std: one number per sample
  // read after it: images or latents channels last, the place for one of them channels first; float64 per sample
  Buffer mean = kNone, logVariance = kNone, image = kNone, staging = kNone, losses = kNone;
};

Autoencoder::Autoencoder(Config config, MakeKernels makeKernels)
    : Trainable(std::move(makeKernels)), config_(std::move(config)) {
  validate(config_);
  Program sizes(1, nullptr);
  buildEncoder(config_, encoderParameters_, sizes);
  encoderPackings_ = sizes.packings;
  parameters_ = encoderParameters_;
  buildDecoder(config_, parameters_, sizes, latentVariable(config_, sizes, true));
  packings_ = sizes.packings;
}

Autoencoder::~Autoencoder() = default;

size_t Autoencoder::latentSize() const {
  const SampleShape s = latentShape(config_);
  return size_t(s.channels) * points(s);
}

std::unique_ptr<Autoencoder::Run> Autoencoder::layOut(Job job, int batch) {
  auto owner = std::make_unique<Run>(job, batch, &weights_);
  Run* r = owner.get();
  Program& g = r->program;
  Plan& plan = g.plan;
  const SampleShape latent = latentShape(config_);
  const size_t latents = batch * latentSize(), pixels = batch * imageSize();

  if (job == Job::kDecode) {
    r->declared = encoderParameters_;
    g.packings = encoderPackings_;
    const VarId z = latentVariable(config_, g, true), out = buildDecoder(config_, r->declared, g, z);
    r->takeInput(z);
    g.primal();
    r->image = g.x(out);
    plan.pin(r->image);
    r->staging = plan.pinned(pixels * sizeof(float));
  } else {
    const auto [in, moments] = buildEncoder(config_, r->declared, g);
    const VarId mean = config_.doubleZ ? g.slice(moments, 0, latent.channels) : moments;
    if (job == Job::kEncode) {
      const VarId logVariance = config_.doubleZ ? g.slice(moments, latent.channels, latent.channels) : kNone;
      r->takeInput(in);
      g.primal();
      r->mean = g.x(mean);
      plan.pin(r->mean);
      if (logVariance != kNone) {
        r->logVariance = g.x(logVariance);
        plan.pin(r->logVariance);
      }
      r->staging = plan.pinned(latents * sizeof(float));
    } else {
      const VarId noise = latentVariable(config_, g, false);
      r->noise = g.x(noise);
      plan.pin(r->noise);
      r->std = plan.pinned(batch * sizeof(float));
      r->losses = plan.pinned(batch * sizeof(double));
      const VarId out = buildDecoder(config_, r->declared, g, g.sum(mean, noise, 1.0f));
      r->takeInput(in);
      const Buffer target = g.x(in);
      g.primal();
      const Buffer v = g.b(out), value = g.x(out);
      const size_t d = imageSize();
      plan.op({v, r->losses, value, target}, [=, &plan](Kernels& k) {
        k.run(op::ProjectionLoss{
            plan.at(v), plan.at<double>(r->losses), plan.at(value), plan.at(target), {r->lossWeight}, batch, d});
      });
      g.backward({true, false}, {out});
    }
  }
  plan.layOut();
  return owner;
}

Autoencoder::Run& Autoencoder::prepare(Job job, int batch) {
  Run& run =
      runs_.find([&](const Run& r) { return r.job == job && r.batch == batch; }, [&] { return layOut(job, batch); });
  equip(run.program);
  run.fillOnes(*kernels_);
  return run;
}

void Autoencoder::fetch(Run& run, float* to, Buffer from, const SampleShape& s) {
  Plan& plan = run.program.plan;
  const size_t bytes = size_t(run.batch) * s.channels * points(s) * sizeof(float);
  kernels_->run(op::ToChannelsFirst{plan.at(run.staging), plan.at(run.ones), nullptr, plan.at(run.ones), plan.at(from),
                                    run.batch, s.channels, points(s)});
  kernels_->download(to, plan.at(run.staging), bytes);
}

void Autoencoder::encode(int n, const float* x, float* mean, float* logVariance, const Stop& stop) {
  if (logVariance && !config_.doubleZ)
    throw std::invalid_argument("this autoencoder is deterministic: its latents have no variance");
  const std::lock_guard<std::mutex> lock(mutex_);
  stop.check();
  makeReady();
  Run& run = prepare(Job::kEncode, n);
  Plan& plan = run.program.plan;
  kernels_->upload(plan.at(run.from), x, n * imageSize() * sizeof(float));
  plan.run(*kernels_, stop);
  const SampleShape s = latentShape(config_);
  fetch(run, mean, run.mean, s);
  if (!logVariance) return;
  fetch(run, logVariance, run.logVariance, s);
  for (size_t i = 0; i < n * latentSize(); ++i) logVariance[i] = std::clamp(logVariance[i], -30.0f, 20.0f);
}

void Autoencoder::decode(int n, const float* latents, float* x, const Stop& stop) {
  const std::lock_guard<std::mutex> lock(mutex_);
  stop.check();
  makeReady();
  Run& run = prepare(Job::kDecode, n);
  Plan& plan = run.program.plan;
  kernels_->upload(plan.at(run.from), latents, n * latentSize() * sizeof(float));
  plan.run(*kernels_, stop);
  fetch(run, x, run.image, {config_.channels, config_.height, config_.width});
}

Trainable::Pass Autoencoder::passOf(const AutoencoderStep& step, const Stop& stop) {
  return [this, &step, &stop](int first, int n) {
    Run& run = prepare(Job::kTrain, n);
    Plan& plan = run.program.plan;
    kernels_->upload(plan.at(run.from), step.x + first * imageSize(), n * imageSize() * sizeof(float));
    const std::vector<float> std(n, static_cast<float>(step.noise));
    kernels_->upload(plan.at(run.std), std.data(), n * sizeof(float));
    kernels_->zero(plan.at(run.noise), n * latentSize() * sizeof(float));
    kernels_->run(op::AddNoise{plan.at(run.noise), plan.at(run.noise), plan.at(run.std), step.seed, kLatent, step.step,
                               static_cast<uint32_t>(first), n, latentSize()});
    run.setLossWeight(1.0 / (double(step.batch) * imageSize()));
    runPasses(run.program, stop);
    return plan.at<double>(run.losses);
  };
}

TrainResult Autoencoder::train(const AutoencoderStep& step, const Stop& stop) {
  return trainStep(step, double(imageSize()), passOf(step, stop), stop);
}

double Autoencoder::gradient(const AutoencoderStep& step, const Stop& stop) {
  return lossOfStep(step, double(imageSize()), passOf(step, stop), stop);
}

size_t Autoencoder::workingBytes(Job job, int batch) { return layOut(job, batch)->program.plan.arenaBytes(); }

}  // namespace feynkac
