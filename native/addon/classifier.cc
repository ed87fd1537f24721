// The Classifier class of the addon: reads requests (lib/native/addon.ts), checks lengths, and starts jobs.
#include "engine/classifier.h"

#include "addon.h"
#include "configs.h"
#include "trainable_handle.h"

namespace feynkac::addon {
namespace {

class ClassifierHandle : public TrainableHandle<ClassifierHandle, Classifier> {
 public:
  static Napi::Function define(Napi::Env env) {
    auto methods = sharedMethods();
    methods.insert(methods.end(), {InstanceMethod<&ClassifierHandle::Classify>("classify"),
                                   InstanceMethod<&ClassifierHandle::Train>("train"),
                                   InstanceMethod<&ClassifierHandle::WorkingBytes>("workingBytes")});
    return DefineClass(env, "Classifier", methods);
  }

  explicit ClassifierHandle(const Napi::CallbackInfo& info) : TrainableHandle(info) {
    open(info, info[1], info[2], [&](Trainable::MakeKernels kernels) {
      return std::make_shared<Classifier>(classifierConfigOf(objectOf(info[0], "config")), std::move(kernels));
    });
  }

 private:
  Napi::Value Classify(const Napi::CallbackInfo& info) {
    const auto n = network();
    const Napi::Object o = objectOf(info[0], "request");
    const size_t size = n->config().imageSize();
    const int rows = rowsOf(o.Get("x"), size, "x");
    const float* x = floats(o.Get("x"), rows * size, "x");
    float* features = floats(o.Get("features"), size_t(rows) * n->featureSize(), "features", true);
    float* logits = floats(o.Get("logits"), size_t(rows) * n->labelSize(), "logits", true);
    return start(info, valuesOf(o), [=](const Stop& stop) { n->classify(rows, x, features, logits, stop); });
  }

  Napi::Value Train(const Napi::CallbackInfo& info) {
    const auto n = network();
    const Napi::Object o = objectOf(info[0], "request");
    const size_t size = n->config().imageSize();
    ClassifierStep step;
    readStep(step, o, rowsOf(o.Get("x"), size, "x"));
    step.x = floats(o.Get("x"), step.batch * size, "x");
    step.labels = floats(o.Get("labels"), size_t(step.batch) * n->labelSize(), "labels");
    step.noise = noiseOf(o);
    const auto result = std::make_shared<TrainResult>();
    return start(
        info, valuesOf(o), [=](const Stop& stop) { *result = n->train(step, stop); },
        [result](Napi::Env env) { return trainResult(env, *result); });
  }

  Napi::Value WorkingBytes(const Napi::CallbackInfo& info) {
    using Job = Classifier::Job;
    const Job job = choice<Job>(info[0], "job", {{"classify", Job::kClassify}, {"train", Job::kTrain}});
    return Napi::Number::New(info.Env(), double(network()->workingBytes(job, batchOf(info[1]))));
  }
};

}  // namespace

void initClassifier(Napi::Env env, Napi::Object exports) {
  exportFactory<ClassifierHandle>(env, exports, "createClassifier");
}

}  // namespace feynkac::addon
