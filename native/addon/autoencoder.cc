// The Autoencoder class of the addon: reads requests (lib/native.ts), checks lengths, and starts jobs.
#include "engine/autoencoder.h"

#include <cmath>

#include "addon.h"
#include "configs.h"
#include "trainable_handle.h"

namespace feynkac::addon {
namespace {

class AutoencoderHandle : public TrainableHandle<AutoencoderHandle, Autoencoder> {
 public:
  static Napi::Function define(Napi::Env env) {
    auto methods = sharedMethods();
    methods.insert(methods.end(), {InstanceMethod<&AutoencoderHandle::Encode>("encode"),
                                   InstanceMethod<&AutoencoderHandle::Decode>("decode"),
                                   InstanceMethod<&AutoencoderHandle::Train>("train"),
                                   InstanceMethod<&AutoencoderHandle::LatentShape>("latentShape"),
                                   InstanceMethod<&AutoencoderHandle::WorkingBytes>("workingBytes")});
    return DefineClass(env, "Autoencoder", methods);
  }

  explicit AutoencoderHandle(const Napi::CallbackInfo& info) : TrainableHandle(info) {
    open(info, info[1], info[2], [&](Trainable::MakeKernels kernels) {
      return std::make_shared<Autoencoder>(autoencoderConfigOf(objectOf(info[0], "config")), std::move(kernels));
    });
  }

 private:
  // The samples of an array of whole ones.
  static int rowsOf(const Napi::Value& value, size_t size, const char* name) {
    const size_t length = value.IsTypedArray() ? value.As<Napi::TypedArray>().ElementLength() : 0;
    const size_t rows = length / size;
    if (rows < 1 || rows > kMaxBatch || length % size != 0)
      throw argumentError(value.Env(), std::string("expected a Float32Array whose length is a multiple of ") +
                                           std::to_string(size) + " for " + name);
    return static_cast<int>(rows);
  }

  Napi::Value Encode(const Napi::CallbackInfo& info) {
    const auto n = network();
    const Napi::Object o = objectOf(info[0], "request");
    const int rows = rowsOf(o.Get("x"), n->imageSize(), "x");
    const float* x = floats(o.Get("x"), rows * n->imageSize(), "x");
    float* mean = floats(o.Get("mean"), rows * n->latentSize(), "mean");
    float* logVariance = floats(o.Get("logVariance"), rows * n->latentSize(), "logVariance", true);
    return start(info, valuesOf(o), [=](const Stop& stop) { n->encode(rows, x, mean, logVariance, stop); });
  }

  Napi::Value Decode(const Napi::CallbackInfo& info) {
    const auto n = network();
    const Napi::Object o = objectOf(info[0], "request");
    const int rows = rowsOf(o.Get("latents"), n->latentSize(), "latents");
    const float* latents = floats(o.Get("latents"), rows * n->latentSize(), "latents");
    float* x = floats(o.Get("x"), rows * n->imageSize(), "x");
    return start(info, valuesOf(o), [=](const Stop& stop) { n->decode(rows, latents, x, stop); });
  }

  Napi::Value Train(const Napi::CallbackInfo& info) {
    const auto n = network();
    const Napi::Object o = objectOf(info[0], "request");
    AutoencoderStep step;
    step.batch = rowsOf(o.Get("x"), n->imageSize(), "x");
    step.microBatch = static_cast<int>(integer(o, "microBatch", 1, kMaxBatch));
    step.x = floats(o.Get("x"), step.batch * n->imageSize(), "x");
    step.noise = number(o, "noise");
    if (!(step.noise >= 0) || !std::isfinite(step.noise))
      throw argumentError(info.Env(), "expected a finite noise of at least 0");
    step.seed = static_cast<uint64_t>(integer(o, "seed", 0, kMaxSeed));
    step.step = static_cast<uint32_t>(integer(o, "step", 1, 0xffffffff));
    step.adam = adamOf(o, step.step);
    step.losses = doubles(o.Get("losses"), step.batch, "losses");
    const auto result = std::make_shared<TrainResult>();
    return start(
        info, valuesOf(o), [=](const Stop& stop) { *result = n->train(step, stop); },
        [result](Napi::Env env) { return trainResult(env, *result); });
  }

  Napi::Value LatentShape(const Napi::CallbackInfo& info) {
    const SampleShape s = latentShape(network()->config());
    auto out = Napi::Array::New(info.Env(), 3);
    const int sizes[] = {s.channels, s.height, s.width};
    for (uint32_t i = 0; i < 3; ++i) out[i] = Napi::Number::New(info.Env(), sizes[i]);
    return out;
  }

  Napi::Value WorkingBytes(const Napi::CallbackInfo& info) {
    using Job = Autoencoder::Job;
    const Job job =
        choice<Job>(info[0], "job", {{"encode", Job::kEncode}, {"decode", Job::kDecode}, {"train", Job::kTrain}});
    const int batch = info[1].IsNumber() ? info[1].As<Napi::Number>().Int32Value() : 0;
    if (batch < 1 || batch > kMaxBatch) throw argumentError(info.Env(), "expected a batch of 1 to 16777216");
    return Napi::Number::New(info.Env(), double(network()->workingBytes(job, batch)));
  }
};

}  // namespace

void initAutoencoder(Napi::Env env, Napi::Object exports) {
  exportFactory<AutoencoderHandle>(env, exports, "createAutoencoder");
}

}  // namespace feynkac::addon
