// The parameters of a network: their names and shapes as the reference's state dict has them (torch layouts), and where
// and how the engine keeps them in its flat arrays.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace feynkac {

// How the engine's copy of a tensor differs from torch's.
enum class Layout {
  kPlain,   // the same
  kConv,    // torch [out, in, k, k] or [out, in]; engine [k, k, in, columns], of which these are `out` from `column` on
  kQkv,     // as kConv, and the output channels go from EDM's (head, channel, {q, k, v}) to ({q, k, v}, head, channel)
  kQkvBias  // the same permutation of a vector
};

// The law of a parameter's initial value: constant + uniform U(-1, 1) + normal N(0, 1).
struct Initial {
  double constant = 0, uniform = 0, normal = 0;
};
// The reference implementations' rules; taps: kernel^2.
Initial xavierUniform(int in, int out, int taps, double gain = 1);
Initial faninUniform(int in, int taps);  // U(-1, 1) / sqrt(fan_in): kaiming_uniform times sqrt(1/3), torch's default

struct Parameter {
  std::string name;
  std::vector<int> shape;
  Layout layout;
  int heads;            // for kQkv, kQkvBias
  int column, columns;  // for kConv
  Initial initial;
  bool buffer;  // part of the state dict that is not trained
  size_t size;
  size_t torchOffset;   // in the concatenation of all tensors in torch layout
  size_t engineOffset;  // in the engine's flat arrays (tensors aligned to 16 floats)
};

class Parameters {
 public:
  // Each returns the engine offset.
  size_t conv(const std::string& name, int kernel, int in, int out, Initial initial);
  size_t linear(const std::string& name, int in, int out, Initial initial);
  size_t qkv(const std::string& name, int channels, int heads, Initial initial);
  size_t qkvBias(const std::string& name, int channels, int heads, Initial initial);
  size_t vector(const std::string& name, int n, Initial initial);
  size_t table(const std::string& name, int rows, int width, Initial initial);  // a linear layer of one-hot rows
  size_t buffer(const std::string& name, int n, Initial initial);
  // Linear layers of one input that the engine computes as one: their weights [in, sum of out], or their biases, lie in
  // one engine tensor. The first returns it; the others fill it from torch tensors that are declared one by one.
  size_t joined(size_t size);
  void linearPart(size_t joined, const std::string& name, int in, int out, int column, int columns, Initial initial);
  void vectorPart(size_t joined, const std::string& name, int n, int column, Initial initial);

  const std::vector<Parameter>& list() const { return list_; }
  size_t torchSize() const { return torchSize_; }
  size_t engineSize() const { return engineSize_; }

  void toEngine(float* engine, const float* torch) const;
  void toTorch(float* torch, const float* engine) const;
  // Initial values in torch layout, a function of the seed alone.
  void initialise(float* torch, uint64_t seed) const;

 private:
  size_t add(Parameter p);
  void addAt(Parameter p, size_t engineOffset);
  std::vector<Parameter> list_;
  size_t torchSize_ = 0, engineSize_ = 0;
};

}  // namespace feynkac
