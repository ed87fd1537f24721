#include "engine/network.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "engine/preconditioning.h"
#include "kernels/random.h"

namespace feynkac {
namespace {

constexpr size_t kRunsKept = 6;

// Phi from what the plan sums: dot: <u, h>; l2: ||u - h||^2; norm: ||h||^2.
double phiFactor(const Head& head) { return head.kind == Kind::kDot ? head.scale : -0.5; }

}  // namespace

// Memory of the network's device.
class Network::Memory {
 public:
  Memory(Kernels& kernels, size_t bytes, std::atomic<size_t>& held)
      : kernels_(kernels), bytes_(bytes), data_(kernels.allocate(bytes)), held_(held) {
    held_ += bytes;
  }
  ~Memory() {
    kernels_.release(data_);
    held_ -= bytes_;
  }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  void* data() { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  Kernels& kernels_;
  size_t bytes_;
  void* data_;
  std::atomic<size_t>& held_;
};

// A job laid out for one head and batch size.
struct Network::Run {
  Run(Job j, Kind k, int n, const Weights* weights) : job(j), kind(k), batch(n), program(n, weights) {}
  const Job job;
  const Kind kind;
  const int batch;
  Program program;
  Ports ports;
  Parameters declared;  // the builder's copy; the network's own is the one in use
  // filled before a run
  Buffer x = kNone, cIn = kNone, cNoise = kNone, frequencies = kNone, labels = kNone, augment = kNone,
         direction = kNone, target = kNone;
  float headScale = 1.0f, lossWeight = 0.0f;
  // read after it: images, then float64 per sample
  Buffer g = kNone, staging = kNone, coefficientA = kNone, coefficientB = kNone;
  Buffer energyA = kNone, energyB = kNone;
  Buffer xx = kNone, phi = kNone, xv = kNone, phiDot1 = kNone, phiDot2 = kNone, losses = kNone;
};

Network::Network(NetworkConfig config, MakeKernels makeKernels)
    : config_(std::move(config)), makeKernels_(std::move(makeKernels)) {
  validate(config_);
  Program sizes(1, nullptr);
  build(config_, parameters_, sizes);
  packings_ = sizes.packings;
}

Network::~Network() = default;

std::unique_ptr<Network::Memory> Network::hold(size_t bytes) {
  return std::make_unique<Memory>(*kernels_, bytes, bytesHeld_);
}

void Network::makeReady() {
  if (packed_) return;
  if (!kernels_) kernels_ = makeKernels_();
  slot(Slot::kParams);
  size_t total = 0;
  std::vector<size_t> offsets;
  for (const auto& p : packings_) {
    offsets.push_back(total);
    total += (kernels_->convPackedBytes(p.kernel, p.in, p.out) + 63) / 64 * 64;
  }
  packed_ = hold(total);
  weights_.packed.clear();
  for (const size_t offset : offsets) weights_.packed.push_back(static_cast<char*>(packed_->data()) + offset);
  for (size_t i = 0; i < packings_.size(); ++i)
    packing_.op({}, [this, i](Kernels& k) {
      const auto& p = packings_[i];
      k.convPack(weights_.packed[i], weights_.params + p.w, p.kernel, p.in, p.out);
    });
  packWeights();
}

float* Network::slot(Slot s) {
  auto& memory = slots_[static_cast<int>(s)];
  if (!memory) {
    const size_t bytes = parameters_.engineSize() * sizeof(float);
    memory = hold(bytes);
    kernels_->zero(memory->data(), bytes);
    if (s == Slot::kParams) weights_.params = static_cast<float*>(memory->data());
    if (s == Slot::kGrad) weights_.grad = static_cast<float*>(memory->data());
  }
  return static_cast<float*>(memory->data());
}

void Network::packWeights() { packing_.run(*kernels_, Stop()); }

void Network::write(Slot s, const float* torch) {
  const std::lock_guard<std::mutex> lock(mutex_);
  makeReady();
  std::vector<float> engine(parameters_.engineSize());
  parameters_.toEngine(engine.data(), torch);
  kernels_->upload(slot(s), engine.data(), engine.size() * sizeof(float));
  if (s == Slot::kParams) packWeights();
}

void Network::read(Slot s, float* torch) {
  const std::lock_guard<std::mutex> lock(mutex_);
  makeReady();
  std::vector<float> engine(parameters_.engineSize());
  kernels_->download(engine.data(), slot(s), engine.size() * sizeof(float));
  parameters_.toTorch(torch, engine.data());
}

void Network::initialise(uint64_t seed) {
  std::vector<float> torch(parameters_.torchSize());
  parameters_.initialise(torch.data(), seed);
  write(Slot::kParams, torch.data());
  write(Slot::kEma, torch.data());
  const std::lock_guard<std::mutex> lock(mutex_);
  for (const Slot s : {Slot::kM, Slot::kV}) kernels_->zero(slot(s), parameters_.engineSize() * sizeof(float));
}

// The plan of a job: what the passes of method.md section 2 read and write, in order.
std::unique_ptr<Network::Run> Network::layOut(Job job, Kind kind, int batch) {
  auto owner = std::make_unique<Run>(job, kind, batch, &weights_);
  Run* r = owner.get();
  Program& g = r->program;
  Plan& plan = g.plan;
  r->ports = build(config_, r->declared, g);
  const VarId in = r->ports.input, out = r->ports.output;
  const int channels = channelsIn(config_), points = pixels(config_);
  const size_t d = sampleSize(), all = batch * d;
  const bool energy = kind != Kind::kDenoiser;

  r->x = plan.pinned(all * sizeof(float));
  r->staging = plan.pinned(all * sizeof(float));
  for (Buffer* b : {&r->cIn, &r->coefficientA, &r->coefficientB}) *b = plan.pinned(batch * sizeof(float));
  for (Buffer* b :
       {&r->cNoise, &r->energyA, &r->energyB, &r->xx, &r->phi, &r->xv, &r->phiDot1, &r->phiDot2, &r->losses})
    *b = plan.pinned(batch * sizeof(double));

  const auto prepareInput = [&](Buffer to, Buffer from) {
    plan.op({to, from, r->cIn}, [=, &plan](Kernels& k) {
      k.toChannelsLast(plan.at(to), plan.at(r->cIn), plan.at(from), nullptr, nullptr, batch, channels, points);
    });
  };
  const auto dot = [&](Buffer to, Buffer x1, Buffer x2) {
    plan.op({to, x1, x2},
            [=, &plan](Kernels& k) { k.dotRows(plan.at<double>(to), plan.at(x1), plan.at(x2), batch, d); });
  };
  // y = a x1 + b x2, with the head's scale in place of a where asked
  const auto combine = [&](Buffer y, float a, Buffer x1, float b = 0, Buffer x2 = kNone, bool scaled = false) {
    plan.op({y, x1, x2}, [=, &plan](Kernels& k) {
      k.combine(plan.at(y), scaled ? a * r->headScale : a, plan.at(x1), b, plan.at(x2), all);
    });
  };
  const auto labels = [&](VarId to, Buffer& from, float scale) {
    if (to == kNone) return;
    const size_t n = g.floats(to);
    from = plan.pinned(n * sizeof(float));
    const Buffer x = g.x(to), source = from;
    plan.op({x, source}, [=, &plan](Kernels& k) { k.combine(plan.at(x), scale, plan.at(source), 0, nullptr, n); });
  };

  prepareInput(g.x(in), r->x);
  const Buffer time = g.x(r->ports.time);
  const int noiseChannels = g.var(r->ports.time).channels;
  r->frequencies = plan.pinned(noiseChannels / 2 * sizeof(double));
  plan.op({time, r->cNoise, r->frequencies}, [=, &plan](Kernels& k) {
    k.noiseEmbedding(plan.at(time), plan.at<double>(r->cNoise), plan.at<double>(r->frequencies), false, batch,
                     noiseChannels);
  });
  labels(r->ports.labels, r->labels, r->ports.labelScale);
  labels(r->ports.augment, r->augment, 1.0f);
  g.primal();
  plan.pin(g.x(out));
  dot(r->xx, r->x, r->x);

  // Phi, and l2's residual r = u - h, which is also its adjoint seed
  if (kind == Kind::kDot) dot(r->phi, g.x(in), g.x(out));
  if (kind == Kind::kNorm) dot(r->phi, g.x(out), g.x(out));
  if (kind == Kind::kL2) {
    combine(g.a(out), 1, g.x(in), -1, g.x(out));
    dot(r->phi, g.a(out), g.a(out));
  }

  if (job == Job::kTangent) {
    r->direction = plan.pinned(all * sizeof(float));
    dot(r->xv, r->x, r->direction);
    prepareInput(g.t(in), r->direction);
    g.tangent(false);
    const Buffer left = kind == Kind::kL2 ? g.a(out) : g.x(out);
    dot(r->phiDot1, kind == Kind::kDot ? g.x(in) : left, g.t(out));
    if (kind != Kind::kNorm) dot(r->phiDot2, g.t(in), left);
  }

  if (energy && (job == Job::kGradient || job == Job::kTrain)) {
    std::vector<VarId> started = {out};
    if (kind == Kind::kDot) {
      combine(g.a(out), 1, g.x(in), 0, kNone, true);
      combine(g.a(in), 1, g.x(out), 0, kNone, true);
      started.push_back(in);
    } else if (kind == Kind::kL2) {
      combine(g.a(in), -1, g.a(out));
      started.push_back(in);
    } else {
      combine(g.a(out), -1, g.x(out));
    }
    g.backward({false, false}, started);
    r->g = g.a(in);
    plan.pin(r->g);
  }

  if (job == Job::kTrain) {
    r->target = plan.pinned(all * sizeof(float));
    const Buffer v = energy ? g.t(in) : g.b(out), value = energy ? r->g : g.x(out);
    plan.op({v, r->losses, value, r->target}, [=, &plan](Kernels& k) {
      k.projectionLoss(plan.at(v), plan.at<double>(r->losses), plan.at(value), plan.at(r->target), r->lossWeight, batch,
                       d);
    });
    if (energy) {
      g.tangent(true);
      if (kind == Kind::kDot) combine(g.b(out), 1, v, 0, kNone, true);
      if (kind == Kind::kL2) combine(g.b(out), 1, v, -1, g.t(out));
      if (kind == Kind::kNorm) combine(g.b(out), -1, g.t(out));
    }
    g.backward({true, energy}, {out});
  }
  plan.layOut();
  return owner;
}

Network::Run& Network::prepare(Job job, Kind kind, int batch) {
  auto found = runs_.begin();
  while (found != runs_.end() && !((*found)->job == job && (*found)->kind == kind && (*found)->batch == batch)) ++found;
  if (found == runs_.end()) {
    if (runs_.size() >= kRunsKept) runs_.pop_back();
    runs_.push_front(layOut(job, kind, batch));
  } else {
    runs_.splice(runs_.begin(), runs_, found);
  }
  Run& run = *runs_.front();
  const size_t need = run.program.plan.arenaBytes();
  if (!arena_ || arena_->bytes() < need) {
    arena_.reset();  // first: the old and the new one need not fit together
    arena_ = hold(need);
  }
  run.program.plan.use(arena_->data());
  return run;
}

void Network::upload(Run& run, const Head& head, const double* sigma, const float* labels, const float* augment) {
  const int n = run.batch;
  Plan& plan = run.program.plan;
  if (run.headScale != static_cast<float>(head.scale)) {
    run.headScale = static_cast<float>(head.scale);
    plan.changed();
  }
  const Levels levels(n, sigma, head.sigmaData);
  const auto cIn = levels.cIn();
  const auto cNoise = levels.cNoise();
  kernels_->upload(plan.at(run.cIn), cIn.data(), n * sizeof(float));
  kernels_->upload(plan.at(run.cNoise), cNoise.data(), n * sizeof(double));
  // 10000^(-i / (half - 1)): with endpoint, as EDM's PositionalEmbedding
  std::vector<double> frequencies(run.program.var(run.ports.time).channels / 2, 1.0);
  for (size_t i = 1; i < frequencies.size(); ++i)
    frequencies[i] = std::pow(10000.0, -double(i) / double(frequencies.size() - 1));
  kernels_->upload(plan.at(run.frequencies), frequencies.data(), frequencies.size() * sizeof(double));
  const auto put = [&](Buffer to, VarId port, const float* from) {
    if (to == kNone) return;
    const size_t bytes = run.program.floats(port) * sizeof(float);
    from ? kernels_->upload(plan.at(to), from, bytes) : kernels_->zero(plan.at(to), bytes);
  };
  put(run.labels, run.ports.labels, labels);
  put(run.augment, run.ports.augment, augment);
}

void Network::setLossWeight(Run& run, double weight) {
  if (run.lossWeight == static_cast<float>(weight)) return;
  run.lossWeight = static_cast<float>(weight);
  run.program.plan.changed();
}

// to = a x + b from, channels first
void Network::convert(Run& run, float* to, const std::vector<float>& a, const std::vector<float>& b, Buffer from) {
  Plan& plan = run.program.plan;
  const size_t row = run.batch * sizeof(float);
  if (!a.empty()) kernels_->upload(plan.at(run.coefficientA), a.data(), row);
  kernels_->upload(plan.at(run.coefficientB), b.data(), row);
  kernels_->toChannelsFirst(to, plan.at(run.coefficientA), a.empty() ? nullptr : plan.at(run.x),
                            plan.at(run.coefficientB), plan.at(from), run.batch, channelsIn(config_), pixels(config_));
}

// The same, to the host.
void Network::fetch(Run& run, float* to, const std::vector<float>& a, const std::vector<float>& b, Buffer from) {
  float* staging = run.program.plan.at(run.staging);
  convert(run, staging, a, b, from);
  kernels_->download(to, staging, run.batch * sampleSize() * sizeof(float));
}

void Network::evaluate(const Head& head, const Batch& batch, const float* direction, const Outputs& out,
                       const Stop& stop) {
  const std::lock_guard<std::mutex> lock(mutex_);
  stop.check();
  makeReady();
  const bool energy = head.kind != Kind::kDenoiser;
  const int n = batch.n;
  const size_t bytes = n * sampleSize() * sizeof(float);
  const Levels levels(n, batch.sigma, head.sigmaData);
  const auto download = [&](Plan& plan, Buffer b) {
    std::vector<double> v(n);
    kernels_->download(v.data(), plan.at(b), n * sizeof(double));
    return v;
  };
  const auto ones = [&] { return std::vector<float>(n, 1.0f); };

  const bool needsGradient = energy && (out.denoised || out.phiGrad || out.grad);
  if (needsGradient || out.raw || out.denoised || out.phi || out.energy) {
    Run& run = prepare(needsGradient ? Job::kGradient : Job::kForward, head.kind, n);
    Plan& plan = run.program.plan;
    upload(run, head, batch.sigma, batch.labels, batch.augment);
    kernels_->upload(plan.at(run.x), batch.x, bytes);
    plan.run(*kernels_, stop);

    const Buffer h = run.program.x(run.ports.output), g = energy ? run.g : h;
    if (out.raw) fetch(run, out.raw, {}, ones(), h);
    if (out.denoised) fetch(run, out.denoised, levels.cSkip(), levels.cOut(), g);
    if (out.phiGrad) fetch(run, out.phiGrad, {}, ones(), g);
    if (out.grad) fetch(run, out.grad, levels.gradOfX(), levels.gradOfG(), g);
    if (energy && (out.phi || out.energy)) {
      const auto phi = download(plan, run.phi), xx = download(plan, run.xx);
      for (int i = 0; i < n; ++i) {
        const double value = phiFactor(head) * phi[i];
        if (out.phi) out.phi[i] = value;
        if (out.energy) out.energy[i] = levels.energyOfXx(i) * xx[i] + levels.energyOfPhi(i) * value;
      }
    }
  }

  if (out.jvp) {
    Run& run = prepare(Job::kTangent, head.kind, n);
    Plan& plan = run.program.plan;
    upload(run, head, batch.sigma, batch.labels, batch.augment);
    kernels_->upload(plan.at(run.x), batch.x, bytes);
    kernels_->upload(plan.at(run.direction), direction, bytes);
    plan.run(*kernels_, stop);
    const auto xv = download(plan, run.xv), one = download(plan, run.phiDot1), two = download(plan, run.phiDot2);
    for (int i = 0; i < n; ++i) {
      // dot: a (<u, h'> + <u', h>); l2: <r, h'> - <r, u'>; norm: -<h, h'>
      double phiDot = -one[i];
      if (head.kind == Kind::kDot) phiDot = head.scale * (one[i] + two[i]);
      if (head.kind == Kind::kL2) phiDot = one[i] - two[i];
      out.jvp[i] = 2 * levels.energyOfXx(i) * xv[i] + levels.energyOfPhi(i) * phiDot;
    }
  }
}

void Network::evaluateResident(const Head& head, const Batch& batch, const ResidentOutputs& out, const Stop& stop) {
  const std::lock_guard<std::mutex> lock(mutex_);
  stop.check();
  makeReady();
  if (kernels_->device() != out.device)
    throw std::invalid_argument("the model and the arrays must be on the same device");
  const bool energy = head.kind != Kind::kDenoiser;
  const int n = batch.n;
  kernels_->after(out.order);
  Run& run = prepare(energy && (out.denoised || out.grad) ? Job::kGradient : Job::kForward, head.kind, n);
  Plan& plan = run.program.plan;
  upload(run, head, batch.sigma, batch.labels, batch.augment);
  kernels_->copy(plan.at(run.x), batch.x, n * sampleSize() * sizeof(float));
  plan.run(*kernels_, stop);
  const Levels levels(n, batch.sigma, head.sigmaData);
  const Buffer g = energy ? run.g : run.program.x(run.ports.output);
  if (out.denoised) convert(run, out.denoised, levels.cSkip(), levels.cOut(), g);
  if (out.grad) convert(run, out.grad, levels.gradOfX(), levels.gradOfG(), g);
  if (out.energy) {
    std::vector<double> a(n), b(n);
    for (int i = 0; i < n; ++i) {
      a[i] = levels.energyOfXx(i);
      b[i] = levels.energyOfPhi(i) * phiFactor(head);
    }
    kernels_->upload(plan.at(run.energyA), a.data(), n * sizeof(double));
    kernels_->upload(plan.at(run.energyB), b.data(), n * sizeof(double));
    kernels_->combineRows(out.energy, plan.at<double>(run.energyA), plan.at<double>(run.xx),
                          plan.at<double>(run.energyB), plan.at<double>(run.phi), n);
  }
  kernels_->before(out.order);
}

double Network::gradient(const Head& head, const Batch& batch, const float* target, const Stop& stop) {
  const std::lock_guard<std::mutex> lock(mutex_);
  stop.check();
  makeReady();
  const int n = batch.n;
  const size_t bytes = n * sampleSize() * sizeof(float);
  kernels_->zero(slot(Slot::kGrad), parameters_.engineSize() * sizeof(float));
  Run& run = prepare(Job::kTrain, head.kind, n);
  Plan& plan = run.program.plan;
  upload(run, head, batch.sigma, batch.labels, batch.augment);
  kernels_->upload(plan.at(run.x), batch.x, bytes);
  kernels_->upload(plan.at(run.staging), target, bytes);
  setTarget(run, Levels(n, batch.sigma, head.sigmaData));
  setLossWeight(run, 1.0 / (double(n) * sampleSize()));
  plan.run(*kernels_, stop);
  std::vector<double> losses(n);
  kernels_->download(losses.data(), plan.at(run.losses), n * sizeof(double));
  double loss = 0;
  for (const double l : losses) loss += l;
  return loss / (double(n) * sampleSize());
}

// target = R of the denoised images in `staging`, channels last
void Network::setTarget(Run& run, const Levels& levels) {
  Plan& plan = run.program.plan;
  const auto a = levels.residualOfDenoised(), b = levels.residualOfX();
  kernels_->upload(plan.at(run.coefficientA), a.data(), a.size() * sizeof(float));
  kernels_->upload(plan.at(run.coefficientB), b.data(), b.size() * sizeof(float));
  kernels_->toChannelsLast(plan.at(run.target), plan.at(run.coefficientA), plan.at(run.staging),
                           plan.at(run.coefficientB), plan.at(run.x), run.batch, channelsIn(config_), pixels(config_));
}

// target = h(c_in x), channels last; target and x are the caller's, on the same device
void Network::forwardInto(float* target, Kernels& caller, const Head& head, int n, const float* x, const double* sigma,
                          const float* labels, const Stop& stop) {
  kernels_->after(caller.context());
  Run& run = prepare(Job::kForward, Kind::kDenoiser, n);
  Plan& plan = run.program.plan;
  upload(run, head, sigma, labels, nullptr);
  kernels_->copy(plan.at(run.x), x, n * sampleSize() * sizeof(float));
  plan.run(*kernels_, stop);
  kernels_->copy(target, plan.at(run.program.x(run.ports.output)), n * sampleSize() * sizeof(float));
  kernels_->before(caller.context());
}

TrainResult Network::train(const TrainStep& step, Network* teacher, const Stop& stop) {
  if (teacher == this)
    throw std::invalid_argument("the teacher and the student are the same network: load the teacher a second time");
  std::unique_lock<std::mutex> lock(mutex_, std::defer_lock), teacherLock;
  if (teacher) {
    teacherLock = std::unique_lock<std::mutex>(teacher->mutex_, std::defer_lock);
    std::lock(lock, teacherLock);
  } else {
    lock.lock();
  }
  stop.check();
  makeReady();
  if (teacher) {
    teacher->makeReady();
    if (teacher->kernels_->device() != kernels_->device())
      throw std::invalid_argument("the teacher and the student must be on the same device");
  }
  const size_t d = sampleSize(), flat = parameters_.engineSize();
  for (const Slot s : {Slot::kEma, Slot::kM, Slot::kV}) slot(s);
  kernels_->zero(slot(Slot::kGrad), flat * sizeof(float));
  if (!losses_ || losses_->bytes() < step.batch * sizeof(double)) losses_ = hold(step.batch * sizeof(double));
  auto* losses = static_cast<double*>(losses_->data());

  // ln sigma ~ N(P_mean, P_std^2); rounded to float32, as the kernels use it
  std::vector<float> sigma32(step.batch);
  for (int i = 0; i < step.batch; ++i) {
    float normal[4];
    normalsFrom(philox(step.seed, kSigma, step.step, static_cast<uint32_t>(i), 0), normal);
    sigma32[i] = static_cast<float>(std::exp(step.pMean + step.pStd * normal[0]));
    step.sigmas[i] = sigma32[i];
  }

  for (int first = 0; first < step.batch; first += step.microBatch) {
    const int n = std::min(step.microBatch, step.batch - first);
    Run& run = prepare(Job::kTrain, step.head.kind, n);
    Plan& plan = run.program.plan;
    const double* sigma = step.sigmas + first;
    const float* labels = step.labels ? step.labels + size_t(first) * labelDim(config_) : nullptr;
    upload(run, step.head, sigma, labels, nullptr);
    kernels_->upload(plan.at(run.staging), step.x0 + first * d, n * d * sizeof(float));
    kernels_->upload(plan.at(run.coefficientA), sigma32.data() + first, n * sizeof(float));
    kernels_->addNoise(plan.at(run.x), plan.at(run.staging), plan.at(run.coefficientA), step.seed, step.step,
                       static_cast<uint32_t>(first), n, d);
    if (teacher) {
      const float* teacherLabels = labelDim(teacher->config_) > 0 ? labels : nullptr;
      teacher->forwardInto(plan.at(run.target), *kernels_, step.head, n, plan.at(run.x), sigma, teacherLabels, stop);
    } else {
      setTarget(run, Levels(n, sigma, step.head.sigmaData));
    }
    setLossWeight(run, 1.0 / (double(step.batch) * d));
    plan.run(*kernels_, stop);
    kernels_->copy(losses + first, plan.at(run.losses), n * sizeof(double));
  }

  if (!sumSquares_) sumSquares_ = hold(sizeof(double));
  auto* sumsq = static_cast<double*>(sumSquares_->data());
  kernels_->sumSquares(sumsq, weights_.grad, flat);
  kernels_->adam(weights_.params, slot(Slot::kEma), slot(Slot::kM), slot(Slot::kV), weights_.grad, sumsq, step.adam,
                 flat);
  packWeights();

  TrainResult result{0, 0};
  kernels_->download(&result.gradNorm, sumsq, sizeof(double));
  kernels_->download(step.losses, losses, step.batch * sizeof(double));
  result.gradNorm = std::sqrt(result.gradNorm);
  for (int i = 0; i < step.batch; ++i) {
    step.losses[i] /= double(d);
    result.loss += step.losses[i];
  }
  result.loss /= step.batch;
  return result;
}

size_t Network::workingBytes(Job job, Kind kind, int batch) {
  return layOut(job, kind, batch)->program.plan.arenaBytes();
}

}  // namespace feynkac
