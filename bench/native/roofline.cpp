// Counts what the jobs of a network ask of a device (counting.h). Prints one JSON object per line: network, job, batch, and per
// kind of call [calls, operations, bytes]. The engine runs as it does on a device.
#include <cstdio>

#include "counting.h"

using namespace feynkac;
using namespace feynkac::bench;

namespace {

struct Named {
  const char* name;
  NetworkConfig config;
};

EdmUNetConfig ddpmpp(int resolution, int channels, std::vector<int> mult) {
  EdmUNetConfig c = {};
  c.imgResolution = c.height = c.width = resolution;
  c.inChannels = 3;
  c.augmentDim = 9;
  c.modelChannels = channels;
  c.channelMult = std::move(mult);
  c.channelMultEmb = 4;
  c.channelMultNoise = 1;
  c.numBlocks = 4;
  c.attnResolutions = {16};
  c.resampleFilter = {1, 1};
  return c;
}

void report(const char* network, const char* job, int batch, size_t arena, const Costs& costs) {
  std::printf("{\"network\":\"%s\",\"job\":\"%s\",\"batch\":%d,\"arenaBytes\":%zu,\"costs\":%s}\n", network, job, batch,
              arena, toJson(costs).c_str());
}

}  // namespace

int main() {
  const Named networks[] = {{"ddpmpp-cifar10", ddpmpp(32, 128, {2, 2, 2})},
                            {"ddpmpp-cifar10-half", ddpmpp(32, 64, {2, 2, 2})},
                            {"ddpmpp-64", ddpmpp(64, 128, {1, 2, 2, 2})}};
  for (const auto& [name, config] : networks)
    for (const int batch : {16, 512}) {
      Costs costs;
      const auto counting = [&costs] { return std::make_unique<Counting>(costs); };
      Network network(config, {}, counting), teacher(config, {}, counting);
      const size_t d = network.sampleSize();
      std::vector<float> x(batch * d), out(batch * d), grad(batch * d);
      std::vector<double> sigma(batch, 1.0), energy(batch), losses(batch), sigmas(batch);
      const Batch all = {batch, x.data(), sigma.data(), nullptr, nullptr};
      const Head denoiser = {Kind::kDenoiser, 1}, dot = {Kind::kDot, 0.5};
      Outputs denoised = {}, gradient = {};
      denoised.denoised = out.data();
      gradient.energy = energy.data();
      gradient.grad = grad.data();
      network.evaluate(denoiser, all, nullptr, denoised, Stop());  // packs the weights
      costs.clear();
      network.evaluate(denoiser, all, nullptr, denoised, Stop());
      report(name, "denoise", batch, network.workingBytes(Job::kForward, Kind::kDenoiser, batch), costs);
      costs.clear();
      network.evaluate(dot, all, nullptr, gradient, Stop());
      report(name, "energy + gradient", batch, network.workingBytes(Job::kGradient, Kind::kDot, batch), costs);
      TrainStep step = {denoiser,
                        batch,
                        batch,
                        x.data(),
                        nullptr,
                        -1.2,
                        1.2,
                        1e-9,
                        1e9,
                        0,
                        0,
                        1,
                        {1e-3, 0.9, 0.999, 1e-8, 1, 1, 0.99},
                        losses.data(),
                        sigmas.data()};
      costs.clear();
      network.train(step, nullptr, Stop());
      report(name, "DSM step", batch, network.workingBytes(Job::kTrain, Kind::kDenoiser, batch), costs);
      step.head = dot;
      teacher.evaluate(denoiser, all, nullptr, denoised, Stop());
      costs.clear();
      network.train(step, &teacher, Stop());
      report(name, "distillation step", batch, network.workingBytes(Job::kTrain, Kind::kDot, batch), costs);
    }
}
