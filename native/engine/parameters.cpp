#include "engine/parameters.h"

#include <cmath>

#include "kernels/common/random.h"

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
    if (p.layout == Layout::kConv) return p.column + o;
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
      for (int t = 0; t < taps; ++t)
        f((size_t(o) * in + i) * taps + t, (size_t(t) * in + i) * p.columns + engineOut(o));
}

}  // namespace

Initial xavierUniform(int in, int out, int taps, double gain) {
  return {0, gain * std::sqrt(6.0 / (double(in) * taps + double(out) * taps)), 0};
}

Initial faninUniform(int in, int taps) { return {0, 1.0 / std::sqrt(double(in) * taps), 0}; }

void Parameters::addAt(Parameter p, size_t engineOffset) {
  p.size = 1;
  for (const int n : p.shape) p.size *= n;
  p.torchOffset = torchSize_;
  p.engineOffset = engineOffset;
  torchSize_ += p.size;
  list_.push_back(std::move(p));
}

size_t Parameters::add(Parameter p) {
  size_t size = 1;
  for (const int n : p.shape) size *= n;
  const size_t offset = joined(size);
  addAt(std::move(p), offset);
  return offset;
}

size_t Parameters::joined(size_t size) {
  const size_t offset = engineSize_;
  engineSize_ += (size + 15) / 16 * 16;
  return offset;
}

size_t Parameters::conv(const std::string& name, int kernel, int in, int out, Initial initial) {
  return add({name, {out, in, kernel, kernel}, Layout::kConv, 0, 0, out, initial, false, 0, 0, 0});
}

size_t Parameters::linear(const std::string& name, int in, int out, Initial initial) {
  return add({name, {out, in}, Layout::kConv, 0, 0, out, initial, false, 0, 0, 0});
}

size_t Parameters::qkv(const std::string& name, int channels, int heads, Initial initial) {
  const int out = 3 * channels;
  return add({name, {out, channels, 1, 1}, Layout::kQkv, heads, 0, out, initial, false, 0, 0, 0});
}

size_t Parameters::qkvBias(const std::string& name, int channels, int heads, Initial initial) {
  return add({name, {3 * channels}, Layout::kQkvBias, heads, 0, 0, initial, false, 0, 0, 0});
}

size_t Parameters::vector(const std::string& name, int n, Initial initial) {
  return add({name, {n}, Layout::kPlain, 0, 0, 0, initial, false, 0, 0, 0});
}

size_t Parameters::table(const std::string& name, int rows, int width, Initial initial) {
  return add({name, {rows, width}, Layout::kPlain, 0, 0, 0, initial, false, 0, 0, 0});
}

size_t Parameters::buffer(const std::string& name, int n, Initial initial) {
  return add({name, {n}, Layout::kPlain, 0, 0, 0, initial, true, 0, 0, 0});
}

void Parameters::linearPart(size_t whole, const std::string& name, int in, int out, int column, int columns,
                            Initial initial) {
  addAt({name, {out, in}, Layout::kConv, 0, column, columns, initial, false, 0, 0, 0}, whole);
}

void Parameters::vectorPart(size_t whole, const std::string& name, int n, int column, Initial initial) {
  addAt({name, {n}, Layout::kPlain, 0, 0, 0, initial, false, 0, 0, 0}, whole + column);
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
    const auto stream = static_cast<uint32_t>(k);
    for (size_t i = 0; i < p.size; ++i) {
      const auto index = static_cast<uint32_t>(i);
      double value = p.initial.constant;
      if (p.initial.uniform != 0.0) value += p.initial.uniform * (2.0 * uniformAt(seed, kInit, stream, 0, index) - 1.0);
      if (p.initial.normal != 0.0) {
        float normals[4];
        normalsFrom(philox(seed, kInit, stream, 1, index / 4), normals);
        value += p.initial.normal * normals[index % 4];
      }
      torch[p.torchOffset + i] = static_cast<float>(value);
    }
  }
}

}  // namespace feynkac
