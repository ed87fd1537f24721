// A backend that counts instead of computing: what the calls of a job ask of a device, per kind of call the number, the operations
// of products and the bytes of memory traffic, if every call reads its inputs and writes its outputs once.
#pragma once

#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <string>

#include "engine/network.h"

namespace feynkac::bench {

struct Cost {
  double calls = 0, operations = 0, bytes = 0;
};
using Costs = std::map<std::string, Cost>;

class Counting final : public Kernels {
 public:
  explicit Counting(Costs& costs) : costs_(costs) {}

  void* allocate(size_t) override {  // an address that is never touched
    static char somewhere[64];
    return somewhere;
  }
  void release(void*) override {}
  void upload(void*, const void*, size_t n) override { add("transfer", 0, double(n)); }
  void download(void* to, const void*, size_t n) override {
    std::memset(to, 0, n);
    add("transfer", 0, double(n));
  }
  void zero(void*, size_t n) override { add("elementwise", 0, double(n)); }
  void copy(void*, const void*, size_t n) override { add("elementwise", 0, 2.0 * double(n)); }

  size_t convPackedBytes(int kernel, int in, int out) override { return size_t(8) * kernel * kernel * in * out; }
  void convPack(void*, const float*, int kernel, int in, int out) override {
    add("pack", 0, 12.0 * kernel * kernel * in * out);
  }
  void conv(float*, const float*, const void*, const float*, const float* residual, float,
            const ConvShape& s) override {
    add("conv forward", operations(s), 4 * (pixels(s) * (s.in + s.out * (residual ? 2 : 1)) + weights(s)));
  }
  void convDataGrad(float*, const float*, const void*, float, bool accumulate, const ConvShape& s) override {
    add("conv data gradient", operations(s), 4 * (pixels(s) * (s.out + s.in * (accumulate ? 2 : 1)) + weights(s)));
  }
  void convWeightGrad(float*, const ConvGradTerm*, int nTerms, float, const ConvShape& s) override {
    add("conv weight gradient", nTerms * operations(s), 4 * (nTerms * pixels(s) * (s.in + s.out) + 2 * weights(s)));
  }
  void biasGrad(float*, const float*, float, int rows, int channels) override {
    add("bias gradient", 0, 4.0 * rows * channels);
  }

  void norm(float*, float*, const float*, const float*, const float*, const float*, const NormShape& s) override {
    add("norm", 0, 8 * values(s));
  }
  void normAdjoint(float*, float*, float*, float*, const float*, const float*, const float*, const float*, const float*,
                   const float*, bool accumulate, const NormShape& s) override {
    add("norm", 0, (accumulate ? 16 : 12) * values(s));
  }
  void normTangent(float*, const float*, const float*, const float*, const float*, const float*, const float*,
                   const NormShape& s) override {
    add("norm", 0, 12 * values(s));
  }
  void normSecond(float*, float*, float*, float*, const float*, const float*, const float*, const float*, const float*,
                  const float*, const float*, const float*, bool accumulate, const NormShape& s) override {
    add("norm", 0, (accumulate ? 24 : 20) * values(s));
  }

  void attention(float*, const float*, const AttentionShape& s) override { attend(s, 2, 4); }
  void attentionAdjoint(float*, const float*, const float*, const AttentionShape& s) override { attend(s, 5, 7); }
  void attentionTangent(float*, const float*, const float*, const AttentionShape& s) override { attend(s, 5, 7); }
  void attentionSecond(float*, const float*, const float*, const float*, const float*,
                       const AttentionShape& s) override {
    attend(s, 14, 11);
  }

  void downsample(float*, const float*, const float*, int, float, bool, int batch, int height, int width,
                  int channels) override {
    add("resampling", 0, 5.0 * batch * height * width * channels);
  }
  void upsample(float*, const float*, const float*, int, float, bool, int batch, int height, int width,
                int channels) override {
    add("resampling", 0, 20.0 * batch * height * width * channels);
  }
  void copyChannels(float*, const float*, bool accumulate, size_t rows, int, int, int, int, int n) override {
    add("elementwise", 0, (accumulate ? 12.0 : 8.0) * double(rows) * n);
  }
  void combine(float*, float, const float*, float, const float* x2, size_t n) override {
    add("elementwise", 0, (x2 ? 12.0 : 8.0) * double(n));
  }
  void combineRows(double*, const double*, const double*, const double*, const double*, int rows) override {
    add("elementwise", 0, 40.0 * rows);
  }
  void dotRows(double*, const float*, const float*, int rows, size_t n) override {
    add("elementwise", 0, 8.0 * rows * double(n));
  }
  void pad(float*, const float*, int margin, bool accumulate, int batch, int height, int width, int channels) override {
    const double inner = double(height) * width, outer = (height + 2.0 * margin) * (width + 2.0 * margin),
                 both = margin > 0 ? inner : outer;
    add("elementwise", 0, 4.0 * batch * channels * (accumulate ? 3 * both : both + outer));
  }
  void noiseEmbedding(float*, const double*, const double*, bool, int batch, int channels) override {
    add("elementwise", 0, 4.0 * batch * channels);
  }
  void modulate(float*, float*, const float*, const float*, const float*, int batch, int channels) override {
    add("elementwise", 0, 16.0 * batch * channels);
  }
  void modulateAdjoint(float*, float*, float*, const float*, const float*, const float*, const float*, const float*,
                       int batch, int channels) override {
    add("elementwise", 0, 20.0 * batch * channels);
  }
  void dropout(float*, const float*, float, const uint32_t*, uint32_t, bool accumulate, int rows, size_t n) override {
    add("elementwise", 0, (accumulate ? 12.0 : 8.0) * rows * double(n));
  }
  void pool(float*, const float*, int batch, int pixels, int channels) override {
    add("elementwise", 0, 4.0 * batch * channels * (pixels + 1.0));
  }
  void poolAdjoint(float*, const float*, bool accumulate, int batch, int pixels, int channels) override {
    add("elementwise", 0, 4.0 * batch * channels * ((accumulate ? 2.0 : 1.0) * pixels + 1));
  }
  void crossEntropy(float*, double*, const float*, const float*, const int32_t*, float, int batch, int,
                    int width) override {
    add("elementwise", 0, 12.0 * batch * width);
  }
  void toChannelsLast(float*, const float*, const float*, const float*, const float* x2, int batch, int channels,
                      int points) override {
    add("elementwise", 0, (x2 ? 12.0 : 8.0) * batch * channels * points);
  }
  void toChannelsFirst(float*, const float*, const float* x, const float*, const float*, int batch, int channels,
                       int points) override {
    add("elementwise", 0, (x ? 12.0 : 8.0) * batch * channels * points);
  }
  void projectionLoss(float*, double*, const float*, const float*, float, int batch, size_t n) override {
    add("elementwise", 0, 12.0 * batch * double(n));
  }
  void levelLoss(float*, double*, double*, const double*, const double*, const double*, const int32_t*, double,
                 int levels, int batch) override {
    add("elementwise", 0, 36.0 * levels * batch);
  }
  void sumSquares(double*, const float*, size_t n) override { add("optimizer", 0, 4.0 * double(n)); }
  void adam(float*, float*, float*, float*, const float*, const double*, const AdamStep&, size_t n) override {
    add("optimizer", 0, 36.0 * double(n));
  }
  void muon(float*, float*, float*, const float*, const double*, const MuonStep&, int rows, int columns) override {
    const double n = double(rows) * columns, narrow = std::min(rows, columns);
    add("optimizer", 4 * n * narrow + (4 * kMuonRounds - 3) * 2 * narrow * narrow * narrow, 28 * n);
  }
  void addNoise(float*, const float*, const float*, uint64_t, uint32_t, uint32_t, uint32_t, int rows,
                size_t n) override {
    add("elementwise", 0, 8.0 * rows * double(n));
  }

 private:
  static double pixels(const ConvShape& s) { return double(s.batch) * s.height * s.width; }
  static double weights(const ConvShape& s) { return double(s.kernel) * s.kernel * s.in * s.out; }
  static double operations(const ConvShape& s) { return 2 * pixels(s) * weights(s); }
  static double values(const NormShape& s) { return double(s.batch) * s.pixels * s.channels; }
  // `products` of [tokens, tokens] with [tokens, channels], `arrays` of the size of the output
  void attend(const AttentionShape& s, int products, int arrays) {
    const double output = double(s.batch) * s.tokens * s.heads * s.channels;
    add("attention", products * 2 * output * s.tokens, arrays * 4 * output);
  }
  void add(const char* kind, double operations, double bytes) {
    Cost& c = costs_[kind];
    c.calls += 1;
    c.operations += operations;
    c.bytes += bytes;
  }

  Costs& costs_;
};

// {"kind":[calls,operations,bytes],...}
inline std::string toJson(const Costs& costs) {
  std::string json = "{";
  for (const auto& [kind, c] : costs) {
    char numbers[128];
    std::snprintf(numbers, sizeof numbers, R"(%s"%s":[%.0f,%.6g,%.6g])", json.size() > 1 ? "," : "", kind.c_str(),
                  c.calls, c.operations, c.bytes);
    json += numbers;
  }
  return json + "}";
}

}  // namespace feynkac::bench
