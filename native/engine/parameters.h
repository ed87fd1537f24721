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
  kConv,    // torch [out, in, k, k] or [out, in]; engine [k, k, in, out]
  kQkv,     // as kConv, and the output channels go from EDM's (head, channel, {q, k, v}) to ({q, k, v}, head, channel)
  kQkvBias  // the same permutation of a vector
};

struct Parameter {
  std::string name;
  std::vector<int> shape;
  Layout layout;
  int heads;           // for kQkv, kQkvBias
  double initValue;    // constant, where initUniform is 0
  double initUniform;  // half-width of the uniform initial law
  size_t size;
  size_t torchOffset;   // in the concatenation of all tensors in torch layout
  size_t engineOffset;  // in the engine's flat arrays (tensors aligned to 16 floats)
};

class Parameters {
 public:
  // Each returns the engine offset. gain scales the Xavier uniform initialisation (EDM's init_weight).
  size_t conv(const std::string& name, int kernel, int in, int out, double gain = 1.0, bool linear = false);
  size_t qkv(const std::string& name, int channels, int heads, double gain);
  size_t qkvBias(const std::string& name, int channels, int heads);
  size_t vector(const std::string& name, int n, double value);

  const std::vector<Parameter>& list() const { return list_; }
  size_t torchSize() const { return torchSize_; }
  size_t engineSize() const { return engineSize_; }

  void toEngine(float* engine, const float* torch) const;
  void toTorch(float* torch, const float* engine) const;
  // Initial values in torch layout, a function of the seed alone.
  void initialise(float* torch, uint64_t seed) const;

 private:
  size_t add(Parameter p);
  std::vector<Parameter> list_;
  size_t torchSize_ = 0, engineSize_ = 0;
};

}  // namespace feynkac
