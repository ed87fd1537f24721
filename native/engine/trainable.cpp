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

// The most sums that wait at once: before micro-batch k those of the aligned runs of 2^i that first .. k - 1 are.
static size_t mostWaiting(const MicroBatches& cut) {
  size_t most = 0;
  for (int k = cut.first + 1; k < cut.last; ++k) {
    size_t runs = 0;
    for (int at = cut.first; at < k; ++runs) {
      int run = 1;
      while (at % (2 * run) == 0 && at + 2 * run <= k) run *= 2;
      at += run;
    }
    most = std::max(most, runs);
  }
  return most;
}

double* Trainable::beginStep(int batch, const MicroBatches& cut, const Share& share) {
  cut_ = cut;
  share_ = share;
  departures_.clear();
  for (const Slot s : {Slot::kEma, Slot::kM, Slot::kV}) slot(s);
  slot(Slot::kGrad);
  for (Waiting& w : waiting_) spare_.push_back(std::move(w.sum));
  waiting_.clear();
  while (spare_.size() < mostWaiting(cut)) spare_.push_back(hold(parameters_.engineSize() * sizeof(float)));
  node_ = {0, 0};
  if (!losses_ || losses_->bytes() < batch * sizeof(double)) losses_ = hold(batch * sizeof(double));
  return static_cast<double*>(losses_->data());
}

MicroBatches microBatchesOf(int batch, int most, const Share& share) {
  const int count = (batch + most - 1) / most;
  if (count < share.size)
    throw std::invalid_argument("a batch of " + std::to_string(batch) + " in micro-batches of " + std::to_string(most) +
                                " is " + std::to_string(count) + ", too few for " + std::to_string(share.size) +
                                " processes");
  return {count, share.begin(count, share.rank), share.begin(count, share.rank + 1)};
}

// The one that waits last joins the gradient.
void Trainable::addYoungest() {
  Waiting& youngest = waiting_.back();
  kernels_->run(op::Combine{weights_.grad, 1, static_cast<const float*>(youngest.sum->data()), 1, weights_.grad,
                            parameters_.engineSize()});
  node_.first = youngest.node.first;
  spare_.push_back(std::move(youngest.sum));
  waiting_.pop_back();
}

void Trainable::beginMicroBatch(int k) {
  const size_t bytes = parameters_.engineSize() * sizeof(float);
  if (node_.last > node_.first) {
    const auto completes = [this](const TreeNode& left) {
      const size_t leaves = left.last - left.first;
      return node_.last - node_.first == leaves && left.first % (2 * leaves) == 0;
    };
    while (!waiting_.empty() && completes(waiting_.back().node)) addYoungest();
    kernels_->copy(spare_.back()->data(), weights_.grad, bytes);
    waiting_.push_back({node_, std::move(spare_.back())});
    spare_.pop_back();
  }
  node_ = {size_t(k), size_t(k) + 1};
  kernels_->zero(weights_.grad, bytes);
}

// The last micro-batch's parts of the gradient are marked as they are done. They leave when all is called, as the calls run ahead of a
// device. On the CPU they do not, and nothing leaves early: the core that would move it is the one that computes.
void Trainable::runPasses(Program& program, const Stop& stop) {
  if (share_.size == 1 || node_.last < size_t(cut_.last)) return program.plan.run(*kernels_, stop);
  if (!link_) link_ = makeKernels_();
  direct_ = share_.onDevice ? share_.onDevice(*link_) : nullptr;
  if (!direct_ && kernels_->device() < 0) return program.plan.run(*kernels_, stop);
  const auto& parts = program.gradientParts(parameters_.engineSize(), share_.part);
  program.plan.run(*kernels_, stop, [&](size_t section) {
    if (section < parts.size()) departures_.push_back({&parts[section], kernels_->mark()});
  });
}

void Trainable::foldMicroBatches() {
  std::vector<TreeNode> nodes;
  nodesOf({0, size_t(cut_.count)}, size_t(cut_.first), size_t(cut_.last), nodes);
  size_t kept = waiting_.size();  // sums that are nodes of their own
  while (kept > 0 && waiting_[kept - 1].node.first >= nodes.back().first) --kept;
  if (departures_.empty()) return fold(*kernels_, kept, {0, parameters_.engineSize()});
  for (const Departure& departure : departures_) {
    if (departure.mark) link_->after(*departure.mark);
    for (const FloatRange& range : *departure.part) fold(*link_, kept, range);
  }
  kernels_->after(link_->context());
}

// The sums that wait but for the oldest `kept` join the gradient, and that those of the other processes.
void Trainable::fold(Kernels& kernels, size_t kept, const FloatRange& range) {
  const size_t n = range.last - range.first;
  float* const gradient = weights_.grad + range.first;
  const auto waiting = [&](size_t i) { return static_cast<float*>(waiting_[i].sum->data()) + range.first; };
  for (size_t i = waiting_.size(); i-- > kept;) kernels.run(op::Combine{gradient, 1, waiting(i), 1, gradient, n});
  if (share_.size == 1) return;
  std::vector<float*> sums;
  for (size_t i = 0; i < kept; ++i) sums.push_back(waiting(i));
  sums.push_back(gradient);
  if (direct_) {
    const size_t room = direct_->room(size_t(cut_.count), parameters_.engineSize());
    if (!exchange_ || exchange_->bytes() < room) {
      exchange_.reset();
      exchange_ = hold(room);
    }
    return direct_->sum(kernels, sums, size_t(cut_.count), n, exchange_->data());
  }
  if (kernels.device() < 0) return share_.sum(sums, size_t(cut_.count), n);
  onHost_.resize(std::max(onHost_.size(), sums.size()));
  for (size_t i = 0; i < sums.size(); ++i) {
    onHost_[i].resize(std::max(onHost_[i].size(), n));
    kernels.download(onHost_[i].data(), sums[i], n * sizeof(float));
    sums[i] = onHost_[i].data();
  }
  share_.sum(sums, size_t(cut_.count), n);
  kernels.upload(gradient, sums.back(), n * sizeof(float));
}

void Trainable::gather(const Share& share, const MicroBatches& cut, const std::vector<Values>& values) {
  if (share.size == 1) return;
  // visit(values, first, last) of every array, for the samples of process r
  const auto samplesOf = [&](int r, const auto& visit) {
    for (const Values& v : values)
      visit(v.data, cut.begin(v.samples, share.begin(cut.count, r)),
            cut.begin(v.samples, share.begin(cut.count, r + 1)));
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
      kernels_->run(
          op::Adam{params + from, ema + from, m + from, v + from, weights_.grad + from, sumsq, step, to - from});
  };
  if (step.muon > 0)
    for (const Parameter& p : parameters_.list()) {
      if (!isMatrix(p)) continue;
      const size_t at = p.engineOffset;
      adamUpTo(at);
      // the engine's [kernel, kernel, in] by [out]
      const int columns = p.shape[0], rows = static_cast<int>(p.size / columns);
      kernels_->run(op::Muon{params + at,
                             ema + at,
                             m + at,
                             weights_.grad + at,
                             sumsq,
                             {step.lr, step.muon, step.clip, step.emaDecay},
                             rows,
                             columns});
      from = at + p.size;
    }
  adamUpTo(parameters_.engineSize());
}

double Trainable::endStep(const OptimizerStep& optimizer) {
  if (!sumSquares_) sumSquares_ = hold(sizeof(double));
  auto* sumsq = static_cast<double*>(sumSquares_->data());
  kernels_->run(op::SumSquares{sumsq, weights_.grad, parameters_.engineSize()});
  isPacked_ = false;
  update(optimizer, sumsq);
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
  double* losses = beginStep(step.batch, cut, step.share);
  for (int k = cut.first; k < cut.last; ++k) {
    const int first = cut.begin(step.batch, k), n = cut.begin(step.batch, k + 1) - first;
    beginMicroBatch(k);
    kernels_->copy(losses + first, pass(first, n), n * sizeof(double));
  }
  foldMicroBatches();
  kernels_->download(step.losses, losses, step.batch * sizeof(double));
  gather(step.share, cut, {{step.losses, step.batch}});
  return meanLoss(step.losses, step.batch, d);
}

TrainResult Trainable::trainStep(const TrainingStep& step, double d, const Pass& pass, const Stop& stop) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const double loss = passes(step, d, pass, stop);
  return {loss, endStep(step.optimizer)};
}

double Trainable::lossOfStep(const TrainingStep& step, double d, const Pass& pass, const Stop& stop) {
  const std::lock_guard<std::mutex> lock(mutex_);
  return passes(step, d, pass, stop);
}

}  // namespace feynkac
