// Layers and their passes (docs/concepts/distillation.md). A program is a list of layers between variables; each pass of a layer
// appends kernel calls to a plan.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/parameters.h"
#include "engine/plan.h"

namespace feynkac {

// The arrays of a network that all its plans share; pointers are filled when the network allocates them.
struct Weights {
  float* params = nullptr;
  float* grad = nullptr;
  std::vector<void*> packed;  // one per convolution, in program order
};

// A variable of the network and its companions, each [batch, height, width, channels] or not made.
struct Var {
  int height, width, channels;
  bool active;       // depends on the network's input u (the noise embedding does not)
  bool isInput;      // nothing before it has parameters: its second adjoint is not wanted
  Buffer x = kNone;  // primal
  Buffer a = kNone;  // adjoint of pass 2
  Buffer t = kNone;  // tangent
  Buffer b = kNone;  // second adjoint, or the adjoint of a training step without tangents
};
using VarId = int;

// Floats first .. last - 1 of an array.
struct FloatRange {
  size_t first, last;
};

using GradientPart = std::vector<FloatRange>;

// What the backward pass of a training step needs.
struct Backward {
  bool weights;  // parameter gradients and the adjoints of what does not depend on u, into `b`; otherwise plain pass 2,
                 // into `a`
  bool second;   // with the terms of the tangent pass
};

class Program;

class Layer {
 public:
  virtual ~Layer() = default;
  VarId out = kNone;
  virtual void primal(Program& g) = 0;
  virtual void backward(Program& g, Backward mode) = 0;
  // `weights`: also the weight gradient's first term, adjoint (outer) tangent, while both are at hand.
  virtual void tangent(Program& g, bool weights) = 0;
  // Where its parameters begin in the network's arrays; Program::kNoParameter for none.
  virtual std::vector<size_t> parameters() const { return {}; }
};

// A network laid out for one batch size: variables and layers; passes are emitted into `plan`.
class Program {
 public:
  Program(int batch, const Weights* weights) : batch(batch), weights(weights) {}

  VarId variable(int height, int width, int channels, bool active, bool isInput = false);
  Var& var(VarId id) { return vars_[id]; }
  size_t floats(VarId id) const { return size_t(batch) * vars_[id].height * vars_[id].width * vars_[id].channels; }

  // Layers; each returns its output. Offsets are engine offsets of parameters, kNoParameter for none.
  static constexpr size_t kNoParameter = ~size_t(0);
  // out = scale (conv(in) + bias + residual)
  VarId conv(VarId in, int kernel, int outChannels, size_t w, size_t bias, VarId residual = kNone, float scale = 1);
  // conv of one pixel, `in`, whose channels are then those of all pixels of an image of this size.
  VarId image(VarId in, int height, int width, int channels, size_t w, size_t bias);
  // silu?(groupNorm(in + e)); groups = 0: no normalisation. With scaleShift = (s, t), 2 channels long: silu?(groupNorm(in)
  // (1 + s) + t). Neither e nor scaleShift depends on u, and this is their only consumer.
  VarId norm(VarId in, VarId e, int groups, float eps, bool silu, size_t gamma, size_t beta, VarId scaleShift = kNone);
  VarId silu(VarId in, VarId e = kNone) { return norm(in, e, 0, 0, true, kNoParameter, kNoParameter); }
  VarId attention(VarId qkv, int heads);
  VarId updown(VarId in, bool up, const std::vector<float>& taps);
  VarId concat(VarId first, VarId second);
  VarId slice(VarId in, int first, int channels);
  VarId sum(VarId first, VarId second, float scale);  // scale (first + second)
  VarId pad(VarId in, int margin);                    // with zeros; negative: crops
  VarId pool(VarId in);                               // mean over the pixels
  VarId dropout(VarId in);                            // `in` itself where the rate is 0

  // Whole passes. Plain pass 2 and the tangent pass skip the layers that do not depend on u; backward passes skip those
  // whose output has no adjoint, because no started variable depends on it. `started`: variables whose adjoint already
  // holds something before the pass. With weight terms, the tangent pass follows a plain pass 2 and skips what that did.
  void primal();
  void backward(Backward mode, const std::vector<VarId>& started);
  void tangent(bool weights);

  // Memory of a companion, made at first use.
  Buffer x(VarId id);
  Buffer a(VarId id);
  Buffer t(VarId id);
  Buffer b(VarId id);
  Buffer adjoint(VarId id, Backward mode) { return mode.weights ? b(id) : a(id); }
  // Whether the adjoint already holds another consumer's part (then add); marks it as written.
  bool accumulates(VarId id);
  // Whether plain pass 2 came to this variable.
  bool hasAdjoint(VarId id) const { return vars_[id].a != kNone; }
  // Whether pass `mode` needs the adjoint of this variable at all.
  bool wanted(VarId id, Backward mode) const { return mode.weights ? !vars_[id].isInput : vars_[id].active; }

  const int batch;
  const Weights* const weights;
  Plan plan;
  float dropoutRate = 0;      // set before the layers are
  Buffer dropoutKey = kNone;  // kernels.h
  struct Packing {
    size_t w;
    int kernel, in, out;
    int height, width;  // of its images
  };
  std::vector<Packing> packings;  // of the convolutions, in program order
  bool dataGrads = false;         // whether the passes so far call convDataGrad
  // The gradient, an array of n floats, in parts of at least so many but for the last: nothing adds to part i after section i of the plan,
  // which is cut there.
  const std::vector<GradientPart>& gradientParts(size_t n, size_t least);

 private:
  void writes(const Layer& layer);
  // Puts the layer at the end; returns its output, a new variable.
  template <class L>
  VarId append(std::unique_ptr<L> layer, int height, int width, int channels, bool active);

  uint32_t dropouts_ = 0;
  std::vector<Var> vars_;
  std::vector<char> written_;
  // Where gradients of the passes so far begin: how many operations the plan had after the last one that adds to them.
  std::map<size_t, int> gradients_;
  std::vector<GradientPart> parts_;
  std::vector<std::unique_ptr<Layer>> layers_;
};

}  // namespace feynkac
