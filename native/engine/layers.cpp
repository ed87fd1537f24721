#include "engine/layers.h"

namespace feynkac {
namespace {

const float* parameter(const Program& g, size_t offset) {
  return offset == Program::kNoParameter ? nullptr : g.weights->params + offset;
}
float* gradient(const Program& g, size_t offset) {
  return offset == Program::kNoParameter ? nullptr : g.weights->grad + offset;
}

// y = scale (W x + bias + residual)
struct ConvLayer final : Layer {
  VarId in, residual;
  float scale;
  size_t w, bias;
  int index;  // of the packed weights
  ConvShape shape;

  std::vector<size_t> parameters() const override { return {w, bias}; }

  void primal(Program& g) override {
    const Buffer y = g.x(out), x = g.x(in), r = residual == kNone ? kNone : g.x(residual);
    g.plan.op({y, x, r}, [=, &g, this](Kernels& k) {
      k.run(op::Conv{g.plan.at(y), g.plan.at(x), g.weights->packed[index], parameter(g, bias), g.plan.at(r), scale,
                     shape});
    });
  }

  void backward(Program& g, Backward mode) override {
    const Buffer dy = g.adjoint(out, mode);
    if (mode.weights) {
      const Buffer x = g.x(in);
      g.plan.op({x, dy}, [=, &g, this](Kernels& k) {
        k.run(op::ConvWeightGrad{gradient(g, w), {{g.plan.at(x), g.plan.at(dy)}}, 1, scale, shape});
        if (bias != Program::kNoParameter)
          k.run(op::BiasGrad{gradient(g, bias), g.plan.at(dy), scale, shape.batch * shape.height * shape.width,
                             shape.out});
      });
    }
    if (residual != kNone && g.wanted(residual, mode)) {
      const bool add = g.accumulates(residual);
      const Buffer dr = g.adjoint(residual, mode);
      const size_t n = g.floats(residual);
      g.plan.op({dr, dy}, [=, &g, this](Kernels& k) {
        k.run(op::Combine{g.plan.at(dr), scale, g.plan.at(dy), 1.0f, add ? g.plan.at(dr) : nullptr, n});
      });
    }
    if (g.wanted(in, mode)) {
      const bool add = g.accumulates(in);
      const Buffer dx = g.adjoint(in, mode);
      g.dataGrads = true;
      g.plan.op({dx, dy}, [=, &g, this](Kernels& k) {
        k.run(op::ConvDataGrad{g.plan.at(dx), g.plan.at(dy), g.weights->packed[index], scale, add, shape});
      });
    }
  }

  void tangent(Program& g, bool weights) override {
    const Buffer tx = g.t(in), ty = g.t(out), tr = residual == kNone || !g.var(residual).active ? kNone : g.t(residual);
    g.plan.op({ty, tx, tr}, [=, &g, this](Kernels& k) {
      k.run(op::Conv{g.plan.at(ty), g.plan.at(tx), g.weights->packed[index], nullptr, g.plan.at(tr), scale, shape});
    });
    if (!weights) return;
    const Buffer ay = g.a(out);
    g.plan.op({tx, ay}, [=, &g, this](Kernels& k) {
      k.run(op::ConvWeightGrad{gradient(g, w), {{g.plan.at(tx), g.plan.at(ay)}}, 1, scale, shape});
    });
  }
};

struct NormLayer final : Layer {
  VarId in, e, scaleShift;
  size_t gamma, beta;
  NormShape shape;
  Buffer stats;
  Buffer rowGamma = kNone, rowBeta = kNone;  // [batch, channels], of the modulated gamma and beta

  std::vector<size_t> parameters() const override { return {gamma, beta}; }

  const float* gammaOf(const Program& g) const { return rowGamma == kNone ? parameter(g, gamma) : g.plan.at(rowGamma); }
  const float* betaOf(const Program& g) const { return rowBeta == kNone ? parameter(g, beta) : g.plan.at(rowBeta); }

  void primal(Program& g) override {
    const Buffer y = g.x(out), x = g.x(in), s = e == kNone ? kNone : g.x(e);
    if (scaleShift != kNone) {
      const Buffer m = g.x(scaleShift);
      g.plan.op({rowGamma, rowBeta, m}, [=, &g, this](Kernels& k) {
        k.run(op::Modulate{g.plan.at(rowGamma), g.plan.at(rowBeta), parameter(g, gamma), parameter(g, beta),
                           g.plan.at(m), shape.batch, shape.channels});
      });
    }
    g.plan.op({y, x, s, stats, rowGamma, rowBeta}, [=, &g, this](Kernels& k) {
      k.run(op::Norm{g.plan.at(y), g.plan.at(stats), g.plan.at(x), g.plan.at(s), gammaOf(g), betaOf(g), shape});
    });
  }

  void backward(Program& g, Backward mode) override {
    const Buffer dy = g.adjoint(out, mode), x = g.x(in), s = e == kNone ? kNone : g.x(e);
    Buffer de = kNone;
    if (mode.weights && e != kNone) {
      g.accumulates(e);
      de = g.b(e);  // the kernels add to it, and this layer is its only consumer
      const size_t bytes = g.floats(e) * sizeof(float);
      g.plan.op({de}, [=, &g](Kernels& k) { k.zero(g.plan.at(de), bytes); });
    }
    const bool add = g.accumulates(in);
    const Buffer dx = g.adjoint(in, mode);
    const bool second = mode.second && g.hasAdjoint(out);
    const Buffer ay = second ? g.a(out) : kNone, tx = second ? g.t(in) : kNone;
    const bool weights = mode.weights, modulated = scaleShift != kNone;
    const size_t rows = size_t(shape.batch) * shape.channels;
    // the kernels add to the gradients of the rows
    const Buffer rowGrads = weights && modulated ? g.plan.floats(2 * rows) : kNone;
    if (rowGrads != kNone)
      g.plan.op({rowGrads}, [=, &g](Kernels& k) { k.zero(g.plan.at(rowGrads), 2 * rows * sizeof(float)); });
    g.plan.op({dx, dy, x, s, de, stats, ay, tx, rowGamma, rowBeta, rowGrads}, [=, &g, this](Kernels& k) {
      float *dgamma = weights ? gradient(g, gamma) : nullptr, *dbeta = weights ? gradient(g, beta) : nullptr;
      if (rowGrads != kNone) {
        dgamma = g.plan.at(rowGrads);
        dbeta = dgamma + rows;
      }
      if (second)
        k.run(op::NormSecond{g.plan.at(dx), dgamma, dbeta, g.plan.at(de), g.plan.at(dy), g.plan.at(ay), g.plan.at(tx),
                             g.plan.at(x), g.plan.at(s), g.plan.at(stats), gammaOf(g), betaOf(g), add, shape});
      else
        k.run(op::NormAdjoint{g.plan.at(dx), dgamma, dbeta, g.plan.at(de), g.plan.at(dy), g.plan.at(x), g.plan.at(s),
                              g.plan.at(stats), gammaOf(g), betaOf(g), add, shape});
    });
    if (rowGrads == kNone) return;
    g.accumulates(scaleShift);
    const Buffer m = g.x(scaleShift), dm = g.b(scaleShift);
    g.plan.op({dm, rowGrads, m}, [=, &g, this](Kernels& k) {
      const float* dRowGamma = g.plan.at(rowGrads);
      k.run(op::ModulateAdjoint{gradient(g, gamma), gradient(g, beta), g.plan.at(dm), dRowGamma, dRowGamma + rows,
                                parameter(g, gamma), parameter(g, beta), g.plan.at(m), shape.batch, shape.channels});
    });
  }

  void tangent(Program& g, bool) override {
    const Buffer tx = g.t(in), ty = g.t(out), x = g.x(in), s = e == kNone ? kNone : g.x(e);
    g.plan.op({ty, tx, x, s, stats, rowGamma, rowBeta}, [=, &g, this](Kernels& k) {
      k.run(op::NormTangent{g.plan.at(ty), g.plan.at(tx), g.plan.at(x), g.plan.at(s), g.plan.at(stats), gammaOf(g),
                            betaOf(g), shape});
    });
  }
};

struct AttentionLayer final : Layer {
  VarId qkv;
  AttentionShape shape;

  void primal(Program& g) override {
    const Buffer y = g.x(out), x = g.x(qkv);
    g.plan.op({y, x}, [=, &g, this](Kernels& k) { k.run(op::Attention{g.plan.at(y), g.plan.at(x), shape}); });
  }
  void backward(Program& g, Backward mode) override {
    g.accumulates(qkv);  // of which this layer is the only consumer
    const Buffer dy = g.adjoint(out, mode), x = g.x(qkv), dx = g.adjoint(qkv, mode);
    const bool second = mode.second && g.hasAdjoint(out);
    const Buffer ay = second ? g.a(out) : kNone, tx = second ? g.t(qkv) : kNone;
    g.plan.op({dx, dy, x, ay, tx}, [=, &g, this](Kernels& k) {
      if (ay != kNone)
        k.run(op::AttentionSecond{g.plan.at(dx), g.plan.at(dy), g.plan.at(ay), g.plan.at(tx), g.plan.at(x), shape});
      else
        k.run(op::AttentionAdjoint{g.plan.at(dx), g.plan.at(dy), g.plan.at(x), shape});
    });
  }
  void tangent(Program& g, bool) override {
    const Buffer tx = g.t(qkv), ty = g.t(out), x = g.x(qkv);
    g.plan.op({ty, tx, x}, [=, &g, this](Kernels& k) {
      k.run(op::AttentionTangent{g.plan.at(ty), g.plan.at(tx), g.plan.at(x), shape});
    });
  }
};

// Linear, so all passes are the filter or its transpose. Up multiplies by 4, so that a constant stays itself.
struct UpdownLayer final : Layer {
  VarId in;
  bool up;
  std::vector<float> taps;

  void apply(Program& g, Buffer y, Buffer x) {
    const Var v = g.var(in);
    g.plan.op({y, x}, [=, &g, this](Kernels& k) {
      const int n = static_cast<int>(taps.size());
      if (up)
        k.run(op::Upsample{g.plan.at(y), g.plan.at(x), taps.data(), n, 4.0f, false, g.batch, v.height, v.width,
                           v.channels});
      else
        k.run(op::Downsample{g.plan.at(y), g.plan.at(x), taps.data(), n, 1.0f, false, g.batch, v.height, v.width,
                             v.channels});
    });
  }
  void primal(Program& g) override { apply(g, g.x(out), g.x(in)); }
  void tangent(Program& g, bool) override { apply(g, g.t(out), g.t(in)); }
  void backward(Program& g, Backward mode) override {
    if (!g.wanted(in, mode)) return;
    const Buffer dy = g.adjoint(out, mode);
    const bool add = g.accumulates(in);
    const Buffer dx = g.adjoint(in, mode);
    const Var v = g.var(out);
    g.plan.op({dx, dy}, [=, &g, this](Kernels& k) {
      const int n = static_cast<int>(taps.size());
      if (up)
        k.run(op::Downsample{g.plan.at(dx), g.plan.at(dy), taps.data(), n, 4.0f, add, g.batch, v.height, v.width,
                             v.channels});
      else
        k.run(op::Upsample{g.plan.at(dx), g.plan.at(dy), taps.data(), n, 1.0f, add, g.batch, v.height, v.width,
                           v.channels});
    });
  }
};

struct ConcatLayer final : Layer {
  VarId parts[2];

  void join(Program& g, Buffer y, Buffer x1, Buffer x2) {
    const int c1 = g.var(parts[0]).channels, c2 = g.var(parts[1]).channels;
    const size_t rows = g.floats(out) / (c1 + c2);
    g.plan.op({y, x1, x2}, [=, &g](Kernels& k) {
      k.run(op::CopyChannels{g.plan.at(y), g.plan.at(x1), false, rows, c1 + c2, 0, c1, 0, c1});
      k.run(op::CopyChannels{g.plan.at(y), g.plan.at(x2), false, rows, c1 + c2, c1, c2, 0, c2});
    });
  }
  void primal(Program& g) override { join(g, g.x(out), g.x(parts[0]), g.x(parts[1])); }
  void tangent(Program& g, bool) override { join(g, g.t(out), g.t(parts[0]), g.t(parts[1])); }
  void backward(Program& g, Backward mode) override {
    const Buffer dy = g.adjoint(out, mode);
    const int width = g.var(out).channels;
    int offset = 0;
    for (const VarId part : parts) {
      const int c = g.var(part).channels;
      const size_t rows = g.floats(part) / c;
      const bool add = g.accumulates(part);
      const Buffer dx = g.adjoint(part, mode);
      g.plan.op({dx, dy}, [=, &g](Kernels& k) {
        k.run(op::CopyChannels{g.plan.at(dx), g.plan.at(dy), add, rows, c, 0, width, offset, c});
      });
      offset += c;
    }
  }
};

// Some of the channels.
struct SliceLayer final : Layer {
  VarId in;
  int first;

  void apply(Program& g, Buffer y, Buffer x) {
    const int width = g.var(in).channels, n = g.var(out).channels;
    const size_t rows = g.floats(out) / n;
    g.plan.op({y, x}, [=, &g, this](Kernels& k) {
      k.run(op::CopyChannels{g.plan.at(y), g.plan.at(x), false, rows, n, 0, width, first, n});
    });
  }
  void primal(Program& g) override { apply(g, g.x(out), g.x(in)); }
  void tangent(Program& g, bool) override { apply(g, g.t(out), g.t(in)); }
  void backward(Program& g, Backward mode) override {
    const Buffer dy = g.adjoint(out, mode);
    const bool add = g.accumulates(in);
    const Buffer dx = g.adjoint(in, mode);
    const int width = g.var(in).channels, n = g.var(out).channels;
    const size_t rows = g.floats(out) / n, bytes = g.floats(in) * sizeof(float);
    g.plan.op({dx, dy}, [=, &g, this](Kernels& k) {
      if (!add) k.zero(g.plan.at(dx), bytes);
      k.run(op::CopyChannels{g.plan.at(dx), g.plan.at(dy), add, rows, width, first, n, 0, n});
    });
  }
};

// out = scale (first + second)
struct SumLayer final : Layer {
  VarId parts[2];
  float scale;

  void apply(Program& g, Buffer y, Buffer x1, Buffer x2) {
    const size_t n = g.floats(out);
    g.plan.op({y, x1, x2}, [=, &g, this](Kernels& k) {
      k.run(op::Combine{g.plan.at(y), scale, g.plan.at(x1), scale, g.plan.at(x2), n});
    });
  }
  void primal(Program& g) override { apply(g, g.x(out), g.x(parts[0]), g.x(parts[1])); }
  void tangent(Program& g, bool) override { apply(g, g.t(out), g.t(parts[0]), g.t(parts[1])); }
  void backward(Program& g, Backward mode) override {
    const Buffer dy = g.adjoint(out, mode);
    const size_t n = g.floats(out);
    for (const VarId part : parts) {
      if (!g.wanted(part, mode)) continue;
      const bool add = g.accumulates(part);
      const Buffer dx = g.adjoint(part, mode);
      g.plan.op({dx, dy}, [=, &g, this](Kernels& k) {
        k.run(op::Combine{g.plan.at(dx), scale, g.plan.at(dy), 1.0f, add ? g.plan.at(dx) : nullptr, n});
      });
    }
  }
};

struct PadLayer final : Layer {
  VarId in;
  int margin;

  static void apply(Program& g, Buffer y, Buffer x, int margin, bool add, const Var& from) {
    const Var v = from;
    g.plan.op({y, x}, [=, &g](Kernels& k) {
      k.run(op::Pad{g.plan.at(y), g.plan.at(x), margin, add, g.batch, v.height, v.width, v.channels});
    });
  }
  void primal(Program& g) override { apply(g, g.x(out), g.x(in), margin, false, g.var(in)); }
  void tangent(Program& g, bool) override { apply(g, g.t(out), g.t(in), margin, false, g.var(in)); }
  void backward(Program& g, Backward mode) override {
    if (!g.wanted(in, mode)) return;
    const bool add = g.accumulates(in);
    const Buffer dy = g.adjoint(out, mode);
    apply(g, g.adjoint(in, mode), dy, -margin, add, g.var(out));
  }
};

struct PoolLayer final : Layer {
  VarId in;

  void apply(Program& g, Buffer y, Buffer x) {
    const Var v = g.var(in);
    g.plan.op({y, x}, [=, &g](Kernels& k) {
      k.run(op::Pool{g.plan.at(y), g.plan.at(x), g.batch, v.height * v.width, v.channels});
    });
  }
  void primal(Program& g) override { apply(g, g.x(out), g.x(in)); }
  void tangent(Program& g, bool) override { apply(g, g.t(out), g.t(in)); }
  void backward(Program& g, Backward mode) override {
    if (!g.wanted(in, mode)) return;
    const bool add = g.accumulates(in);
    const Buffer dy = g.adjoint(out, mode), dx = g.adjoint(in, mode);
    const Var v = g.var(in);
    g.plan.op({dx, dy}, [=, &g](Kernels& k) {
      k.run(op::PoolAdjoint{g.plan.at(dx), g.plan.at(dy), add, g.batch, v.height * v.width, v.channels});
    });
  }
};

// Linear: every pass of a run has the same mask.
struct DropoutLayer final : Layer {
  VarId in;
  uint32_t index;

  void apply(Program& g, Buffer y, Buffer x, bool add) {
    const Buffer key = g.dropoutKey;
    const size_t n = g.floats(in) / g.batch;
    g.plan.op({y, x, key}, [=, &g, this](Kernels& k) {
      k.run(op::Dropout{g.plan.at(y), g.plan.at(x), g.dropoutRate, g.plan.at<uint32_t>(key), index, add, g.batch, n});
    });
  }
  void primal(Program& g) override { apply(g, g.x(out), g.x(in), false); }
  void tangent(Program& g, bool) override { apply(g, g.t(out), g.t(in), false); }
  void backward(Program& g, Backward mode) override {
    const bool add = g.accumulates(in);
    const Buffer dy = g.adjoint(out, mode);
    apply(g, g.adjoint(in, mode), dy, add);
  }
};

}  // namespace

template <class L>
VarId Program::append(std::unique_ptr<L> layer, int height, int width, int channels, bool active) {
  layer->out = variable(height, width, channels, active);
  layers_.push_back(std::move(layer));
  return static_cast<VarId>(vars_.size()) - 1;
}

VarId Program::conv(VarId in, int kernel, int outChannels, size_t w, size_t bias, VarId residual, float scale) {
  const Var v = vars_[in];
  auto layer = std::make_unique<ConvLayer>();
  layer->in = in;
  layer->residual = residual;
  layer->scale = scale;
  layer->w = w;
  layer->bias = bias;
  layer->index = static_cast<int>(packings.size());
  layer->shape = {batch, v.height, v.width, v.channels, outChannels, kernel};
  packings.push_back({w, kernel, v.channels, outChannels, v.height, v.width});
  return append(std::move(layer), v.height, v.width, outChannels, v.active);
}

VarId Program::image(VarId in, int height, int width, int channels, size_t w, size_t bias) {
  const VarId out = conv(in, 1, height * width * channels, w, bias);
  vars_[out].height = height;
  vars_[out].width = width;
  vars_[out].channels = channels;
  return out;
}

VarId Program::norm(VarId in, VarId e, int groups, float eps, bool silu, size_t gamma, size_t beta, VarId scaleShift) {
  const Var v = vars_[in];
  auto layer = std::make_unique<NormLayer>();
  layer->in = in;
  layer->e = e;
  layer->scaleShift = scaleShift;
  layer->gamma = gamma;
  layer->beta = beta;
  layer->shape = {batch, v.height * v.width, v.channels, groups, eps, silu, scaleShift != kNone};
  layer->stats = groups > 0 ? plan.floats(size_t(batch) * groups * 2) : kNone;
  if (scaleShift != kNone) {
    layer->rowGamma = plan.floats(size_t(batch) * v.channels);
    layer->rowBeta = plan.floats(size_t(batch) * v.channels);
  }
  return append(std::move(layer), v.height, v.width, v.channels, v.active);
}

VarId Program::attention(VarId qkv, int heads) {
  const Var v = vars_[qkv];
  auto layer = std::make_unique<AttentionLayer>();
  layer->qkv = qkv;
  layer->shape = {batch, v.height * v.width, heads, v.channels / 3 / heads};
  return append(std::move(layer), v.height, v.width, v.channels / 3, v.active);
}

VarId Program::updown(VarId in, bool up, const std::vector<float>& taps) {
  const Var v = vars_[in];
  auto layer = std::make_unique<UpdownLayer>();
  layer->in = in;
  layer->up = up;
  layer->taps = taps;
  return up ? append(std::move(layer), v.height * 2, v.width * 2, v.channels, v.active)
            : append(std::move(layer), v.height / 2, v.width / 2, v.channels, v.active);
}

VarId Program::concat(VarId first, VarId second) {
  const Var v = vars_[first];
  auto layer = std::make_unique<ConcatLayer>();
  layer->parts[0] = first;
  layer->parts[1] = second;
  return append(std::move(layer), v.height, v.width, v.channels + vars_[second].channels, v.active);
}

VarId Program::slice(VarId in, int first, int channels) {
  const Var v = vars_[in];
  auto layer = std::make_unique<SliceLayer>();
  layer->in = in;
  layer->first = first;
  return append(std::move(layer), v.height, v.width, channels, v.active);
}

VarId Program::sum(VarId first, VarId second, float scale) {
  const Var v = vars_[first];
  auto layer = std::make_unique<SumLayer>();
  layer->parts[0] = first;
  layer->parts[1] = second;
  layer->scale = scale;
  return append(std::move(layer), v.height, v.width, v.channels, v.active);
}

VarId Program::pad(VarId in, int margin) {
  const Var v = vars_[in];
  auto layer = std::make_unique<PadLayer>();
  layer->in = in;
  layer->margin = margin;
  return append(std::move(layer), v.height + 2 * margin, v.width + 2 * margin, v.channels, v.active);
}

VarId Program::pool(VarId in) {
  const Var v = vars_[in];
  auto layer = std::make_unique<PoolLayer>();
  layer->in = in;
  return append(std::move(layer), 1, 1, v.channels, v.active);
}

VarId Program::dropout(VarId in) {
  if (dropoutRate == 0) return in;
  const Var v = vars_[in];
  auto layer = std::make_unique<DropoutLayer>();
  layer->in = in;
  layer->index = dropouts_++;
  return append(std::move(layer), v.height, v.width, v.channels, v.active);
}

}  // namespace feynkac
