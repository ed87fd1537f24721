// The Network class of the addon: reads requests (lib/native/addon.ts), checks lengths, and starts jobs.
#include "engine/network.h"

#include <cmath>

#include "addon.h"
#include "configs.h"
#include "ranks.h"
#include "request.h"
#include "trainable_handle.h"

namespace feynkac::addon {
namespace {

Kind kindOf(const Napi::Value& value) {
  return choice<Kind>(value, "kind",
                      {{"denoiser", Kind::kDenoiser},
                       {"dot", Kind::kDot},
                       {"l2", Kind::kL2},
                       {"norm", Kind::kNorm},
                       {"joint", Kind::kJoint},
                       {"residual", Kind::kResidual}});
}

class NetworkHandle : public TrainableHandle<NetworkHandle, Network> {
 public:
  static Napi::Function define(Napi::Env env) {
    auto methods = sharedMethods();
    methods.insert(
        methods.end(),
        {InstanceMethod<&NetworkHandle::Evaluate>("evaluate"), InstanceMethod<&NetworkHandle::Gradient>("gradient"),
         InstanceMethod<&NetworkHandle::Train>("train"), InstanceMethod<&NetworkHandle::WorkingBytes>("workingBytes")});
    return DefineClass(env, "Network", methods);
  }

  explicit NetworkHandle(const Napi::CallbackInfo& info) : TrainableHandle(info) {
    open(info, info[2], info[3], [&](Trainable::MakeKernels kernels) {
      return std::make_shared<Network>(configOf(objectOf(info[0], "config")),
                                       preconditioningOf(objectOf(info[1], "preconditioning")), std::move(kernels),
                                       info[4].ToBoolean().Value());
    });
    info.This().As<Napi::Object>().TypeTag(&kTag);
  }

 private:
  static constexpr napi_type_tag kTag = {0x6665796e6b61634eull, 0x6574776f726b0001ull};

  static Head headOf(const Napi::Object& o) {
    Head head = {kindOf(o.Get("kind")), number(o, "headScale")};
    if (!std::isfinite(head.scale)) throw argumentError(o.Env(), "expected a finite headScale");
    if (!o.Get("energyWeight").IsUndefined()) head.energyWeight = number(o, "energyWeight");
    if (!(head.energyWeight >= 0) || !std::isfinite(head.energyWeight))
      throw argumentError(o.Env(), "expected a finite energyWeight of at least 0");
    return head;
  }

  // The batch of a request; its length follows from sigma. `resident`: x is an array of a device, read by the caller.
  static Batch batchOf(const Napi::Object& o, const Network& n, const float* resident = nullptr) {
    const Napi::Value sigma = o.Get("sigma");
    if (!sigma.IsTypedArray()) throw argumentError(o.Env(), "expected a Float64Array for sigma");
    const size_t rows = sigma.As<Napi::TypedArray>().ElementLength();
    if (rows < 1 || rows > kMaxBatch) throw argumentError(o.Env(), "expected 1 to 16777216 noise levels for sigma");
    const float* x = resident ? resident : floats(o.Get("x"), rows * n.sampleSize(), "x");
    Batch batch = {static_cast<int>(rows), x, doubles(sigma, rows, "sigma"),
                   floats(o.Get("labels"), rows * labelDim(n.config()), "labels", true),
                   floats(o.Get("augment"), rows * augmentDim(n.config()), "augment", true)};
    for (size_t i = 0; i < rows; ++i)
      if (!(batch.sigma[i] > 0) || !std::isfinite(batch.sigma[i]))
        throw argumentError(o.Env(), "expected finite noise levels above 0 for sigma");
    return batch;
  }

  Napi::Value Evaluate(const Napi::CallbackInfo& info) {
    const auto n = network();
    const Napi::Object o = objectOf(info[0], "request");
    const Head head = headOf(o);
    if (deviceViewOf(o.Get("x")) != nullptr) return evaluateResident(info, head);
    const Batch batch = batchOf(o, *n);
    const size_t rows = batch.n, all = rows * n->sampleSize();
    const float* direction = floats(o.Get("direction"), all, "direction", true);
    const Outputs out = {
        floats(o.Get("raw"), all, "raw", true),         floats(o.Get("denoised"), all, "denoised", true),
        doubles(o.Get("phi"), rows, "phi", true),       floats(o.Get("phiGrad"), all, "phiGrad", true),
        doubles(o.Get("energy"), rows, "energy", true), floats(o.Get("grad"), all, "grad", true),
        doubles(o.Get("jvp"), rows, "jvp", true),       floats(o.Get("scoreGrad"), all, "scoreGrad", true)};
    if (head.kind == Kind::kDenoiser && (out.phi || out.phiGrad || out.energy || out.grad || out.jvp))
      throw argumentError(info.Env(), "a denoiser has no energy: ask for raw or denoised");
    if (out.scoreGrad && head.kind != Kind::kJoint)
      throw argumentError(info.Env(), "only a joint network has a scoreGrad beside its energy");
    if (out.jvp && !direction) throw argumentError(info.Env(), "expected a direction for jvp");
    return start(info, valuesOf(o), [=](const Stop& stop) { n->evaluate(head, batch, direction, out, stop); });
  }

  // x and the outputs in one space of the network's device.
  Napi::Value evaluateResident(const Napi::CallbackInfo& info, const Head& head) {
    const auto n = network();
    try {
      Request q(info);
      const auto x = q.array<float>("x");
      const Batch batch = batchOf(info[0].As<Napi::Object>(), *n, x.data);
      if (x.size != batch.n * n->sampleSize()) throw wrong("x", "as many samples as sigma has");
      const auto given = [&](const char* name) { return !q[name].IsUndefined(); };
      for (const char* name : {"raw", "phi", "phiGrad", "jvp", "direction"})
        if (given(name)) throw wrong(name, "nothing where x is on a device");
      ResidentOutputs out = {};
      if (given("denoised")) out.denoised = q.array<float>("denoised", x.size).data;
      if (given("energy")) out.energy = q.array<double>("energy", batch.n).data;
      if (given("grad")) out.grad = q.array<float>("grad", x.size).data;
      if (given("scoreGrad")) out.scoreGrad = q.array<float>("scoreGrad", x.size).data;
      if (head.kind == Kind::kDenoiser && (out.energy || out.grad)) throw wrong("energy", "a model that has one");
      if (head.kind != Kind::kJoint && out.scoreGrad) throw wrong("scoreGrad", "a joint model");
      q.keep(info.This());
      return q.start(
          [=](ParticleKernels& kernels, const Stop& stop) {
            ResidentOutputs there = out;
            there.device = kernels.device();
            there.order = kernels.context();
            n->evaluateResident(head, batch, there, stop);
          },
          reported());
    } catch (const Napi::Error&) {
      throw;
    } catch (...) {
      throw currentError(info.Env());
    }
  }

  Napi::Value Gradient(const Napi::CallbackInfo& info) {
    const auto n = network();
    const Napi::Object o = objectOf(info[0], "request");
    const Head head = headOf(o);
    const Batch batch = batchOf(o, *n);
    const float* target = floats(o.Get("target"), batch.n * n->sampleSize(), "target");
    const auto loss = std::make_shared<double>();
    return start(
        info, valuesOf(o), [=](const Stop& stop) { *loss = n->gradient(head, batch, target, stop); },
        [loss](Napi::Env env) -> Napi::Value {
          auto out = Napi::Object::New(env);
          out["loss"] = Napi::Number::New(env, *loss);
          return out;
        });
  }

  Napi::Value Train(const Napi::CallbackInfo& info) {
    const auto n = network();
    const Napi::Object o = objectOf(info[0], "request");
    const Napi::Value losses = o.Get("losses");
    const size_t rows = losses.IsTypedArray() ? losses.As<Napi::TypedArray>().ElementLength() : 0;
    if (rows < 1 || rows > kMaxBatch)
      throw argumentError(info.Env(), "expected a Float64Array of batch length for losses");
    TrainStep step;
    step.head = headOf(o);
    step.batch = static_cast<int>(rows);
    step.microBatch = static_cast<int>(integer(o, "microBatch", 1, kMaxBatch));
    step.x0 = floats(o.Get("x0"), rows * n->sampleSize(), "x0");
    step.labels = floats(o.Get("labels"), rows * labelDim(n->config()), "labels", true);
    step.augment = floats(o.Get("augment"), rows * augmentDim(n->config()), "augment", true);
    step.pMean = number(o, "pMean");
    step.pStd = number(o, "pStd");
    step.sigmaMin = number(o, "sigmaMin");
    step.sigmaMax = number(o, "sigmaMax");
    if (!(step.sigmaMin > 0 && step.sigmaMin <= step.sigmaMax))
      throw argumentError(info.Env(), "expected sigmaMin above 0 and at most sigmaMax");
    step.dropout = static_cast<float>(number(o, "dropout"));
    if (!(step.dropout >= 0 && step.dropout < 1)) throw argumentError(info.Env(), "expected a dropout in [0, 1)");
    step.seed = static_cast<uint64_t>(integer(o, "seed", 0, kMaxSeed));
    step.step = static_cast<uint32_t>(integer(o, "step", 1, 0xffffffff));
    step.optimizer = optimizerOf(o, step.step);
    step.losses = doubles(losses, rows, "losses");
    step.sigmas = doubles(o.Get("sigmas"), rows, "sigmas");
    step.states = doubles(o.Get("states"), rows, "states", true);
    step.targets = floats(o.Get("targets"), rows * n->sampleSize(), "targets", true);
    step.share = shareOf(o);
    std::shared_ptr<Network> teacher;
    const Napi::Value t = o.Get("teacher");
    if (!t.IsUndefined() && !t.IsNull()) {
      if (!t.IsObject() || !t.As<Napi::Object>().CheckTypeTag(&kTag))
        throw argumentError(info.Env(), "expected a network for teacher");
      teacher = Unwrap(t.As<Napi::Object>())->network();
      if (teacher->sampleSize() != n->sampleSize() ||
          sampleShape(teacher->config()).channels != sampleShape(n->config()).channels)
        throw argumentError(info.Env(), "the teacher and the student must work on samples of one shape");
      if (labelDim(teacher->config()) != 0 && labelDim(teacher->config()) != labelDim(n->config()))
        throw argumentError(info.Env(), "the teacher's label_dim must be 0 or the student's");
    }
    for (size_t i = 0; step.states != nullptr && i < rows; ++i)
      if (!(step.states[i] >= 0) || !std::isfinite(step.states[i]))
        throw argumentError(info.Env(), "expected finite noise levels, or 0 for clean samples, for states");
    if (step.states && !teacher && !step.targets)
      throw argumentError(info.Env(), "expected a teacher or targets for states");
    if (step.targets && teacher) throw argumentError(info.Env(), "expected a teacher or targets, not both");
    const auto levels = levelsOf(o.Get("levels"), step);
    const auto walks = walksOf(o.Get("walks"), step, *n, teacher != nullptr);
    auto kept = valuesOf(o);
    for (const char* name : {"levels", "walks"})
      if (o.Get(name).IsObject())
        for (const Napi::Value& value : valuesOf(o.Get(name).As<Napi::Object>())) kept.push_back(value);
    const auto result = std::make_shared<TrainResult>();
    return start(
        info, kept,
        [=](const Stop& stop) {
          TrainStep whole = step;
          whole.levels = levels.get();
          whole.walks = walks.get();
          *result = n->train(whole, teacher.get(), stop);
        },
        [result, joint = step.head.kind == Kind::kJoint](Napi::Env env) {
          const Napi::Value out = trainResult(env, *result);
          if (joint) out.As<Napi::Object>()["energyLoss"] = Napi::Number::New(env, result->energyLoss);
          return out;
        });
  }

  // Null where the step has none.
  static std::shared_ptr<LevelStep> levelsOf(const Napi::Value& value, const TrainStep& step) {
    if (value.IsUndefined()) return nullptr;
    const Napi::Object o = objectOf(value, "levels");
    if (step.head.kind == Kind::kDenoiser) throw argumentError(o.Env(), "a denoiser has no energy to classify with");
    const Napi::Value losses = o.Get("losses");
    const size_t samples = losses.IsTypedArray() ? losses.As<Napi::TypedArray>().ElementLength() : 0;
    if (samples < 1 || samples > size_t(step.batch))
      throw argumentError(o.Env(), "expected a Float64Array of 1 to batch length for losses of levels");
    const int levels = static_cast<int>(integer(o, "count", 2, 64));
    const size_t all = samples * levels;
    LevelStep l = {levels,
                   static_cast<int>(samples),
                   number(o, "weight"),
                   doubles(o.Get("sigma"), all, "sigma of levels"),
                   ints(o.Get("truth"), samples, "truth of levels"),
                   doubles(o.Get("free"), all, "free of levels"),
                   doubles(losses, samples, "losses of levels"),
                   doubles(o.Get("residual"), all, "residual of levels")};
    for (size_t i = 0; i < all; ++i)
      if (!(l.sigma[i] > 0) || !std::isfinite(l.sigma[i]) || !std::isfinite(l.free[i]))
        throw argumentError(o.Env(), "expected finite noise levels above 0 and finite free energies for levels");
    for (size_t i = 0; i < samples; ++i)
      if (l.truth[i] < 0 || l.truth[i] >= levels) throw argumentError(o.Env(), "expected a level for truth of levels");
    return std::make_shared<LevelStep>(l);
  }

  // Null where the step has none.
  static std::shared_ptr<WalkStep> walksOf(const Napi::Value& value, const TrainStep& step, const Network& n,
                                           bool teacher) {
    if (value.IsUndefined()) return nullptr;
    const Napi::Object o = objectOf(value, "walks");
    if (step.head.kind == Kind::kDenoiser || !teacher)
      throw argumentError(o.Env(), "walks need an energy and a teacher");
    const Napi::Value residual = o.Get("residual");
    const size_t samples = residual.IsTypedArray() ? residual.As<Napi::TypedArray>().ElementLength() : 0;
    if (samples < 1 || samples > size_t(step.batch))
      throw argumentError(o.Env(), "expected a Float64Array of 1 to batch length for residual of walks");
    const int steps = static_cast<int>(integer(o, "steps", 1, 64));
    const int groups = static_cast<int>(integer(o, "groups", 1, kMaxBatch));
    WalkStep w = {steps,
                  static_cast<int>(samples),
                  groups,
                  number(o, "weight"),
                  doubles(o.Get("sigma"), (steps + 1) * samples, "sigma of walks"),
                  doubles(o.Get("constant"), samples, "constant of walks"),
                  doubles(o.Get("share"), samples, "share of walks"),
                  doubles(o.Get("variances"), steps * samples * groups, "variances of walks"),
                  ints(o.Get("group"), n.sampleSize(), "group of walks"),
                  o.Get("cosines").ToBoolean().Value(),
                  doubles(residual, samples, "residual of walks")};
    for (size_t i = 0; i < (steps + 1) * samples; ++i) {
      const double before = i < samples ? 0 : w.sigma[i - samples];
      if (!(w.sigma[i] > before) || !std::isfinite(w.sigma[i]))
        throw argumentError(o.Env(), "expected finite noise levels above 0 that increase along walks");
    }
    for (size_t i = 0; i < steps * samples * groups; ++i)
      if (!(w.variances[i] >= 0)) throw argumentError(o.Env(), "expected variances of walks of at least 0");
    for (size_t i = 0; i < n.sampleSize(); ++i)
      if (w.group[i] < 0 || w.group[i] >= groups) throw argumentError(o.Env(), "expected a group for group of walks");
    return std::make_shared<WalkStep>(w);
  }

  Napi::Value WorkingBytes(const Napi::CallbackInfo& info) {
    const Job job = choice<Job>(info[0], "job",
                                {{"denoise", Job::kForward}, {"energyGrad", Job::kGradient}, {"train", Job::kTrain}});
    const int batch = info[2].IsNumber() ? info[2].As<Napi::Number>().Int32Value() : 0;
    if (batch < 1 || batch > kMaxBatch) throw argumentError(info.Env(), "expected a batch of 1 to 16777216");
    return Napi::Number::New(info.Env(), double(network()->workingBytes(job, kindOf(info[1]), batch)));
  }
};

}  // namespace

void initNetwork(Napi::Env env, Napi::Object exports) { exportFactory<NetworkHandle>(env, exports, "createNetwork"); }

}  // namespace feynkac::addon
