#include "engine/trainable.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>

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
      k.run(op::ConvPack{weights_.packed[i], weights_.params + p.w, p.kernel, p.in, p.out});
      if (packsForGrads_) k.run(op::ConvPackForGrad{weights_.packed[i], weights_.params + p.w, p.kernel, p.in, p.out});
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
  slot(Slot::kGrad);
  microBatches_ = 0;
  if (!losses_ || losses_->bytes() < batch * sizeof(double)) losses_ = hold(batch * sizeof(double));
  return static_cast<double*>(losses_->data());
}

MicroBatches microBatchesOf(int batch, int most, const Share& share) {
  const int count = (batch + most - 1) / most, own = count / share.size;
  const bool equal = count % share.size == 0 && (own & (own - 1)) == 0;
  if (share.size > 1 && !equal)
    throw std::invalid_argument("a batch of " + std::to_string(batch) + " in micro-batches of " + std::to_string(most) +
                                " is " + std::to_string(count) + ", which " + std::to_string(share.size) +
                                " processes cannot share: each takes 1, 2, 4, 8, ... of them");
  return {count, share.rank * own, (share.rank + 1) * own};
}

void Trainable::beginMicroBatch() {
  const size_t n = parameters_.engineSize();
  if (microBatches_ > 0) {  // the one before goes where a binary counter carries to
    const size_t depth = addSubtrees(microBatches_ - 1, /*all=*/false);
    while (subtrees_.size() <= depth) subtrees_.push_back(hold(n * sizeof(float)));
    kernels_->copy(subtrees_[depth]->data(), weights_.grad, n * sizeof(float));
  }
  ++microBatches_;
  kernels_->zero(weights_.grad, n * sizeof(float));
}

void Trainable::foldMicroBatches(const Share& share) {
  if (microBatches_ > 0) addSubtrees(microBatches_ - 1, /*all=*/true);
  if (share.size == 1) return;
  const size_t n = parameters_.engineSize();
  if (kernels_->device() < 0) return share.sum(weights_.grad, n);
  std::vector<float> host(n);
  kernels_->download(host.data(), weights_.grad, n * sizeof(float));
  share.sum(host.data(), n);
  kernels_->upload(weights_.grad, host.data(), n * sizeof(float));
}

// Adds the subtrees that wait after `count` micro-batches to the gradient, the youngest first: those that it completes a larger
// one with, or all. Returns the depth of what it then is.
size_t Trainable::addSubtrees(size_t count, bool all) {
  size_t depth = 0;
  for (; count >> depth != 0; ++depth) {
    if ((count >> depth & 1) != 0)
      kernels_->run(op::Combine{weights_.grad, 1, static_cast<const float*>(subtrees_[depth]->data()), 1, weights_.grad,
                                parameters_.engineSize()});
    else if (!all)
      break;
  }
  return depth;
}

void Trainable::gather(const Share& share, const MicroBatches& cut, const std::vector<Values>& values) {
  if (share.size == 1) return;
  const int each = cut.last - cut.first;
  // visit(values, first, last) of every array, for the samples of process r
  const auto samplesOf = [&](int r, const auto& visit) {
    for (const Values& v : values) visit(v.data, cut.begin(v.samples, r * each), cut.begin(v.samples, (r + 1) * each));
  };
  std::vector<double> own;
  samplesOf(share.rank,
            [&](const double* data, int first, int last) { own.insert(own.end(), data + first, data + last); });
  std::vector<size_t> counts(share.size, 0);
  size_t total = 0;
  for (int r = 0; r < share.size; ++r) {
    samplesOf(r, [&](const double*, int first, int last) { counts[r] += last - first; });
    total += counts[r];
  }
  std::vector<double> all(total);
  share.gather(own.data(), all.data(), counts);
  auto from = all.begin();
  for (int r = 0; r < share.size; ++r)
    samplesOf(r, [&](double* data, int first, int last) {
      std::copy_n(from, last - first, data + first);
      from += last - first;
    });
}

double Trainable::endStep(const AdamStep& adam) {
  if (!sumSquares_) sumSquares_ = hold(sizeof(double));
  auto* sumsq = static_cast<double*>(sumSquares_->data());
  kernels_->run(op::SumSquares{sumsq, weights_.grad, parameters_.engineSize()});
  isPacked_ = false;
  kernels_->run(op::Adam{weights_.params, slot(Slot::kEma), slot(Slot::kM), slot(Slot::kV), weights_.grad, sumsq, adam,
                         parameters_.engineSize()});
  double squares = 0;
  kernels_->download(&squares, sumsq, sizeof(double));
  return std::sqrt(squares);
}

double meanLoss(double* losses, int batch, double d) {
  double sum = 0;
  for (int i = 0; i < batch; ++i) sum += losses[i] /= d;
  return sum / batch;
}

double Trainable::passes(const TrainingStep& step, double d, const Pass& pass, const Stop& stop) {
  stop.check();
  makeReady();
  const MicroBatches cut = microBatchesOf(step.batch, step.microBatch, step.share);
  double* losses = beginStep(step.batch);
  for (int k = cut.first; k < cut.last; ++k) {
    const int first = cut.begin(step.batch, k), n = cut.begin(step.batch, k + 1) - first;
    beginMicroBatch();
    kernels_->copy(losses + first, pass(first, n), n * sizeof(double));
  }
  foldMicroBatches(step.share);
  kernels_->download(step.losses, losses, step.batch * sizeof(double));
  gather(step.share, cut, {{step.losses, step.batch}});
  return meanLoss(step.losses, step.batch, d);
}

TrainResult Trainable::trainStep(const TrainingStep& step, double d, const Pass& pass, const Stop& stop) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const double loss = passes(step, d, pass, stop);
  return {loss, endStep(step.adam)};
}

double Trainable::lossOfStep(const TrainingStep& step, double d, const Pass& pass, const Stop& stop) {
  const std::lock_guard<std::mutex> lock(mutex_);
  return passes(step, d, pass, stop);
}

}  // namespace feynkac
