#include "engine/parameters.h"

#include <cmath>

#include "kernels/random.h"

namespace feynkac {
namespace {

// Calls f(torch index, engine index) for every element.
template <class F>
void forEachElement(const Parameter& p, const F& f) {
  if (p.layout == Layout::kPlain) {
    for (size_t i = 0; i < p.size; ++i) f(i, i);
    return;
  }
  const int out = p.shape[0];
  const int perHead = p.heads > 0 ? out / 3 / p.heads : 0;
  // EDM's output channel ((head * perHead + c) * 3 + which) is the engine's (which * heads + head) * perHead + c
  const auto engineOut = [&](int o) {
    if (p.layout == Layout::kConv) return o;
    const int which = o % 3, c = o / 3 % perHead, head = o / 3 / perHead;
    return (which * p.heads + head) * perHead + c;
  };
  if (p.layout == Layout::kQkvBias) {
    for (int o = 0; o < out; ++o) f(o, engineOut(o));
    return;
  }
  const int in = p.shape[1], taps = p.shape.size() == 4 ? p.shape[2] * p.shape[3] : 1;
  for (int o = 0; o < out; ++o)
    for (int i = 0; i < in; ++i)
      for (int t = 0; t < taps; ++t) f((size_t(o) * in + i) * taps + t, (size_t(t) * in + i) * out + engineOut(o));
}

}  // namespace

size_t Parameters::add(Parameter p) {
  p.size = 1;
  for (const int n : p.shape) p.size *= n;
  p.torchOffset = torchSize_;
  p.engineOffset = engineSize_;
  torchSize_ += p.size;
  engineSize_ += (p.size + 15) / 16 * 16;
  list_.push_back(std::move(p));
  return list_.back().engineOffset;
}

size_t Parameters::conv(const std::string& name, int kernel, int in, int out, double gain, bool linear) {
  const int taps = kernel * kernel;
  const double xavier = std::sqrt(6.0 / (double(in) * taps + double(out) * taps));
  std::vector<int> shape = {out, in};
  if (!linear) shape.insert(shape.end(), {kernel, kernel});
  return add({name, shape, Layout::kConv, 0, 0.0, gain * xavier, 0, 0, 0});
}

size_t Parameters::qkv(const std::string& name, int channels, int heads, double gain) {
  const double xavier = std::sqrt(6.0 / (double(channels) + 3.0 * channels));
  return add({name, {3 * channels, channels, 1, 1}, Layout::kQkv, heads, 0.0, gain * xavier, 0, 0, 0});
}

size_t Parameters::qkvBias(const std::string& name, int channels, int heads) {
  return add({name, {3 * channels}, Layout::kQkvBias, heads, 0.0, 0.0, 0, 0, 0});
}

size_t Parameters::vector(const std::string& name, int n, double value) {
  return add({name, {n}, Layout::kPlain, 0, value, 0.0, 0, 0, 0});
}

void Parameters::toEngine(float* engine, const float* torch) const {
  for (size_t i = 0; i < engineSize_; ++i) engine[i] = 0.0f;  // the padding between tensors too
  for (const Parameter& p : list_)
    forEachElement(p, [&](size_t t, size_t e) { engine[p.engineOffset + e] = torch[p.torchOffset + t]; });
}

void Parameters::toTorch(float* torch, const float* engine) const {
  for (const Parameter& p : list_)
    forEachElement(p, [&](size_t t, size_t e) { torch[p.torchOffset + t] = engine[p.engineOffset + e]; });
}

void Parameters::initialise(float* torch, uint64_t seed) const {
  for (size_t k = 0; k < list_.size(); ++k) {
    const Parameter& p = list_[k];
    for (size_t i = 0; i < p.size; ++i) {
      double value = p.initValue;
      if (p.initUniform != 0.0)
        value =
            p.initUniform * (2.0 * uniformAt(seed, kInit, static_cast<uint32_t>(k), 0, static_cast<uint32_t>(i)) - 1.0);
      torch[p.torchOffset + i] = static_cast<float>(value);
    }
  }
}

}  // namespace feynkac
