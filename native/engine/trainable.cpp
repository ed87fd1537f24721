#include "engine/trainable.h"

#include <algorithm>
#include <cmath>

namespace feynkac {

Trainable::Trainable(MakeKernels makeKernels) : makeKernels_(std::move(makeKernels)) {}

Trainable::~Trainable() = default;

std::unique_ptr<Trainable::Memory> Trainable::hold(size_t bytes) {
  return std::make_unique<Memory>(*kernels_, bytes, bytesHeld_);
}

void Trainable::makeReady() {
  allocateWeights();
  if (isPacked_) return;
  packing_.run(*kernels_, Stop());
  isPacked_ = true;
}

// All of it or, where memory runs out, nothing.
void Trainable::allocateWeights() {
  if (packed_) return;
  if (!kernels_) kernels_ = makeKernels_();
  slot(Slot::kParams);
  size_t total = 0;
  std::vector<size_t> offsets;
  for (const auto& p : packings_) {
    offsets.push_back(total);
    total += (kernels_->convPackedBytes(p.kernel, p.in, p.out) + 63) / 64 * 64;
  }
  auto memory = hold(total);
  std::vector<void*> places;
  places.reserve(offsets.size());
  for (const size_t offset : offsets) places.push_back(static_cast<char*>(memory->data()) + offset);
  Plan plan;
  for (size_t i = 0; i < packings_.size(); ++i)
    plan.op({}, [this, i](Kernels& k) {
      const auto& p = packings_[i];
      k.convPack(weights_.packed[i], weights_.params + p.w, p.kernel, p.in, p.out);
      if (packsForGrads_) k.convPackForGrad(weights_.packed[i], weights_.params + p.w, p.kernel, p.in, p.out);
    });
  packed_ = std::move(memory);
  weights_.packed = std::move(places);
  packing_ = std::move(plan);
}

float* Trainable::slot(Slot s) {
  auto& memory = slots_[static_cast<int>(s)];
  if (!memory) {
    const size_t bytes = parameters_.engineSize() * sizeof(float);
    auto fresh = hold(bytes);
    kernels_->zero(fresh->data(), bytes);
    memory = std::move(fresh);
    if (s == Slot::kParams) weights_.params = static_cast<float*>(memory->data());
    if (s == Slot::kGrad) weights_.grad = static_cast<float*>(memory->data());
  }
  return static_cast<float*>(memory->data());
}

std::vector<Trainable::Convolution> Trainable::convolutions(int batch) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!kernels_) kernels_ = makeKernels_();
  std::vector<Convolution> list;
  for (const auto& p : packings_) {
    const ConvShape shape = {batch, p.height, p.width, p.in, p.out, p.kernel};
    list.push_back({shape, kernels_->convAlgorithms(shape), kernels_->convPackedBytes(p.kernel, p.in, p.out)});
  }
  return list;
}

void Trainable::write(Slot s, const float* torch) {
  const std::lock_guard<std::mutex> lock(mutex_);
  allocateWeights();
  if (s == Slot::kParams) isPacked_ = false;
  if (kernels_->device() < 0) {
    parameters_.toEngine(slot(s), torch);  // the host's memory
  } else {
    std::vector<float> engine(parameters_.engineSize());
    parameters_.toEngine(engine.data(), torch);
    kernels_->upload(slot(s), engine.data(), engine.size() * sizeof(float));
  }
  if (s == Slot::kParams) written(torch);
}

void Trainable::read(Slot s, float* torch) {
  const std::lock_guard<std::mutex> lock(mutex_);
  allocateWeights();
  std::vector<float> engine(parameters_.engineSize());
  kernels_->download(engine.data(), slot(s), engine.size() * sizeof(float));
  parameters_.toTorch(torch, engine.data());
}

void Trainable::initialise(uint64_t seed) {
  std::vector<float> torch(parameters_.torchSize());
  parameters_.initialise(torch.data(), seed);
  write(Slot::kParams, torch.data());
  write(Slot::kEma, torch.data());
  const std::lock_guard<std::mutex> lock(mutex_);
  for (const Slot s : {Slot::kM, Slot::kV}) kernels_->zero(slot(s), parameters_.engineSize() * sizeof(float));
}

void Trainable::equip(Program& program) {
  if (program.dataGrads && !packsForGrads_) {
    packsForGrads_ = true;
    packing_.changed();
    isPacked_ = false;
    makeReady();
  }
  Plan& plan = program.plan;
  const size_t need = plan.arenaBytes();
  if (!arena_ || arena_->bytes() < need) {
    arena_.reset();  // first: the old and the new one need not fit together
    arena_ = hold(need);
  }
  plan.use(arena_->data());
}

double* Trainable::beginStep(int batch) {
  for (const Slot s : {Slot::kEma, Slot::kM, Slot::kV}) slot(s);
  kernels_->zero(slot(Slot::kGrad), parameters_.engineSize() * sizeof(float));
  if (!losses_ || losses_->bytes() < batch * sizeof(double)) losses_ = hold(batch * sizeof(double));
  return static_cast<double*>(losses_->data());
}

namespace {

// Fewer channels are colours, or what is as few: no matrix worth the name.
constexpr int kFewestChannels = 16;

bool isMatrix(const Parameter& p) {
  if (p.layout != Layout::kConv && p.layout != Layout::kQkv) return false;
  return p.shape.size() == 4 && std::min(p.shape[0], p.shape[1]) >= kFewestChannels && p.columns == p.shape[0];
}

}  // namespace

// Muon moves the matrices, and Adam all that lies between them.
void Trainable::update(const OptimizerStep& step, const double* sumsq) {
  float *params = weights_.params, *ema = slot(Slot::kEma), *m = slot(Slot::kM), *v = slot(Slot::kV);
  size_t from = 0;
  const auto adamUpTo = [&](size_t to) {
    if (to > from)
      kernels_->adam(params + from, ema + from, m + from, v + from, weights_.grad + from, sumsq, step, to - from);
  };
  if (step.muon > 0)
    for (const Parameter& p : parameters_.list()) {
      if (!isMatrix(p)) continue;
      const size_t at = p.engineOffset;
      adamUpTo(at);
      // the engine's [kernel, kernel, in] by [out]
      const int columns = p.shape[0], rows = static_cast<int>(p.size / columns);
      kernels_->muon(params + at, ema + at, m + at, weights_.grad + at, sumsq,
                     {step.lr, step.muon, step.clip, step.emaDecay}, rows, columns);
      from = at + p.size;
    }
  adamUpTo(parameters_.engineSize());
}

TrainResult Trainable::endStep(const OptimizerStep& optimizer, int batch, double d, double* losses) {
  if (!sumSquares_) sumSquares_ = hold(sizeof(double));
  auto* sumsq = static_cast<double*>(sumSquares_->data());
  kernels_->sumSquares(sumsq, weights_.grad, parameters_.engineSize());
  isPacked_ = false;
  update(optimizer, sumsq);

  TrainResult result{0, 0};
  kernels_->download(&result.gradNorm, sumsq, sizeof(double));
  result.gradNorm = std::sqrt(result.gradNorm);
  result.loss = downloadLosses(losses, batch, d);
  return result;
}

double Trainable::downloadLosses(double* losses, int batch, double d) {
  kernels_->download(losses, losses_->data(), batch * sizeof(double));
  double sum = 0;
  for (int i = 0; i < batch; ++i) sum += losses[i] /= d;
  return sum / batch;
}

void Trainable::passes(const TrainingStep& step, const Pass& pass, const Stop& stop) {
  stop.check();
  makeReady();
  double* losses = beginStep(step.batch);
  for (int first = 0; first < step.batch; first += step.microBatch) {
    const int n = std::min(step.microBatch, step.batch - first);
    kernels_->copy(losses + first, pass(first, n), n * sizeof(double));
  }
}

TrainResult Trainable::trainStep(const TrainingStep& step, double d, const Pass& pass, const Stop& stop) {
  const std::lock_guard<std::mutex> lock(mutex_);
  passes(step, pass, stop);
  return endStep(step.optimizer, step.batch, d, step.losses);
}

double Trainable::lossOfStep(const TrainingStep& step, double d, const Pass& pass, const Stop& stop) {
  const std::lock_guard<std::mutex> lock(mutex_);
  passes(step, pass, stop);
  return downloadLosses(step.losses, step.batch, d);
}

}  // namespace feynkac
