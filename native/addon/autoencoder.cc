// The Autoencoder class of the addon: reads requests (lib/native/addon.ts), checks lengths, and starts jobs.
#include "engine/autoencoder.h"

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
    readStep(step, o, rowsOf(o.Get("x"), n->imageSize(), "x"));
    step.x = floats(o.Get("x"), step.batch * n->imageSize(), "x");
    step.noise = noiseOf(o);
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
    return Napi::Number::New(info.Env(), double(network()->workingBytes(job, batchOf(info[1]))));
  }
};

}  // namespace

void initAutoencoder(Napi::Env env, Napi::Object exports) {
  exportFactory<AutoencoderHandle>(env, exports, "createAutoencoder");
}

}  // namespace feynkac::addon
