// Attention: the same four passes; outputs are overwritten. operations.h says what holds for all.
#pragma once

#include <cstddef>
#include <cstdint>

namespace feynkac {

// Softmax attention over tokens, per head: o = softmax(q k^T / sqrt(channels)) v.
// qkv is [batch, tokens, 3, heads, channels], o is [batch, tokens, heads, channels].
struct AttentionShape {
  int batch, tokens, heads, channels;

  size_t values() const { return size_t(batch) * tokens * heads * channels; }
};

namespace op {

struct Attention {
  static constexpr const char* kKind = "attention";
  float* o;
  const float* qkv;
  AttentionShape s;
  double products() const { return 4.0 * double(s.values()) * s.tokens; }
  template <class Each>
  void arrays(Each&& each) {
    each.writes(o, s.values());
    each.reads(qkv, 3 * s.values());
  }
};

struct AttentionAdjoint {
  static constexpr const char* kKind = "attention";
  float* dqkv;
  const float *ao, *qkv;
  AttentionShape s;
  double products() const { return 10.0 * double(s.values()) * s.tokens; }
  template <class Each>
  void arrays(Each&& each) {
    each.writes(dqkv, 3 * s.values());
    each.reads(ao, s.values());
    each.reads(qkv, 3 * s.values());
  }
};

struct AttentionTangent {
  static constexpr const char* kKind = "attention";
  float* to;
  const float *tqkv, *qkv;
  AttentionShape s;
  double products() const { return 10.0 * double(s.values()) * s.tokens; }
  template <class Each>
  void arrays(Each&& each) {
    each.writes(to, s.values());
    each.reads(tqkv, 3 * s.values());
    each.reads(qkv, 3 * s.values());
  }
};

// dqkv = J^T bo + d/dqkv <ao, J tqkv>
struct AttentionSecond {
  static constexpr const char* kKind = "attention";
  float* dqkv;
  const float *bo, *ao, *tqkv, *qkv;
  AttentionShape s;
  double products() const { return 28.0 * double(s.values()) * s.tokens; }
  template <class Each>
  void arrays(Each&& each) {
    each.writes(dqkv, 3 * s.values());
    each.reads(bo, s.values());
    each.reads(ao, s.values());
    each.reads(tqkv, 3 * s.values());
    each.reads(qkv, 3 * s.values());
  }
};

}  // namespace op

// clang-format off
#define FEYNKAC_ATTENTION_OPERATIONS(DO) \
  DO(Attention) DO(AttentionAdjoint) DO(AttentionTangent) DO(AttentionSecond)
// clang-format on

}  // namespace feynkac
