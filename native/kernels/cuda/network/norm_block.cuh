// What the passes of norm.cu share: sweeps of blocks over one image's pixels and a run of channels, sums over pixels for each
// channel, and the affine map from x to xhat.
#pragma once

#include "kernels/common/kernels.h"
#include "kernels/cuda/gpu.cuh"

namespace feynkac {
namespace FEYNKAC_PATH {
namespace {

// A block takes kColumns channels (whole cache lines) and a slice of the pixels of one image. A thread keeps its V channels
// (4 where the memory allows vectors, 1 otherwise) and steps over the pixels of the slice.
constexpr int kBlock = 256, kColumns = 32, kSlice = 256;

struct Sweep {
  int pixels, channels, groups, slices, tiles;
};

template <int V>
struct Place {
  static constexpr int kAcross = kColumns / V, kDown = kBlock / kAcross;
  int image, slice, channel, row, end;
  bool inside;

  GPU_FN explicit Place(const Sweep& s) {
    const int tile = static_cast<int>(blockIdx.x) % s.tiles, rest = static_cast<int>(blockIdx.x) / s.tiles;
    slice = rest % s.slices;
    image = rest / s.slices;
    channel = tile * kColumns + static_cast<int>(threadIdx.x) % kAcross * V;
    row = slice * kSlice + static_cast<int>(threadIdx.x) / kAcross;
    end = min(slice * kSlice + kSlice, s.pixels);
    inside = channel < s.channels;
  }
  // f(element) for the thread's place in every row of the slice
  template <class F>
  GPU_FN void forRows(const Sweep& s, const F& f) const {
    if (!inside) return;
    for (int i = row; i < end; i += kDown) f((size_t(image) * s.pixels + i) * s.channels + channel);
  }
  GPU_FN size_t ofChannel(const Sweep& s) const { return size_t(image) * s.channels + channel; }
};

template <int V>
struct Lanes {
  float v[V];
};

template <int V>
GPU_FN Lanes<V> loadLanes(const float* p) {
  Lanes<V> l;
  if constexpr (V == 4) {
    [[maybe_unused]] const float4 f = *reinterpret_cast<const float4*>(p);  // nvcc warns of the other case
    l = {{f.x, f.y, f.z, f.w}};
  } else {
    l.v[0] = *p;
  }
  return l;
}
template <int V>
GPU_FN void storeLanes(float* p, const Lanes<V>& l) {
  if constexpr (V == 4)
    *reinterpret_cast<float4*>(p) = make_float4(l.v[0], l.v[1], l.v[2], l.v[3]);
  else
    *p = l.v[0];
}

// SiLU and its derivatives, or the identity.
template <bool kSilu>
struct Activation {
  GPU_FN static float sigmoid(float z) { return 1.0f / (1.0f + expf(-z)); }
  GPU_FN static float value(float z) { return kSilu ? z * sigmoid(z) : z; }
  GPU_FN static float first(float z) {
    if (!kSilu) return 1.0f;
    const float s = sigmoid(z);
    return s * (1.0f + z * (1.0f - s));
  }
  GPU_FN static void both(float z, float& d1, float& d2) {
    if (!kSilu) {
      d1 = 1.0f;
      d2 = 0.0f;
      return;
    }
    const float s = sigmoid(z), t = 1.0f - s;
    d1 = s * (1.0f + z * t);
    d2 = s * t * (2.0f + z * (t - s));
  }
};

// The arrays that fix the map of a layer; any but x may be null. The gammas and betas of two images are `affineStride` apart.
struct Map {
  const float *x, *e, *stats, *gamma, *beta;
  int affineStride;

  GPU_FN int affine(int image, int channel) const { return image * affineStride + channel; }
};

// xhat = (x + offset) r and z = gamma xhat + beta for the channels of a thread.
template <int V>
struct Affine {
  float offset[V], r[V], gamma[V], beta[V];

  GPU_FN Affine(const Map& m, const Sweep& s, const Place<V>& place) {
    if (!place.inside) return;
#pragma unroll
    for (int k = 0; k < V; ++k) {
      const int c = place.channel + k;
      offset[k] = m.e != nullptr ? m.e[size_t(place.image) * s.channels + c] : 0.0f;
      r[k] = gamma[k] = 1.0f;
      beta[k] = 0.0f;
      if (m.stats == nullptr) continue;
      const float* own = m.stats + 2 * (size_t(place.image) * s.groups + c / (s.channels / s.groups));
      offset[k] -= own[0];
      r[k] = own[1];
      gamma[k] = m.gamma[m.affine(place.image, c)];
      beta[k] = m.beta[m.affine(place.image, c)];
    }
  }
  GPU_FN float normalised(float x, int k) const { return (x + offset[k]) * r[k]; }
  GPU_FN float scaled(float h, int k) const { return gamma[k] * h + beta[k]; }
};

// sums[q][image, slice, channel] = sum over the slice's pixels; float32 in a thread, float64 between threads.
template <int Q, int V>
GPU_FN void storeSums(double* sums, const float (&own)[Q][V], const Sweep& s, const Place<V>& place, size_t each) {
  SHARED(double, part, [Place<V>::kDown][kColumns]);
  const int down = threadIdx.x / Place<V>::kAcross, across = threadIdx.x % Place<V>::kAcross * V;
#pragma unroll
  for (int q = 0; q < Q; ++q) {
#pragma unroll
    for (int k = 0; k < V; ++k) part[down][across + k] = own[q][k];
    __syncthreads();
    const int c = static_cast<int>(threadIdx.x), channel = static_cast<int>(blockIdx.x) % s.tiles * kColumns + c;
    if (c < kColumns && channel < s.channels) {
      double total = 0;
      for (int i = 0; i < Place<V>::kDown; ++i) total += part[i][c];
      sums[q * each + (size_t(place.image) * s.slices + place.slice) * s.channels + channel] = total;
    }
    __syncthreads();
  }
}

// Sums over all pixels of one channel, from those over slices.
struct ChannelSums {
  const double* sums;
  size_t each;
  GPU_FN double operator()(int q, const Sweep& s, int image, int channel) const {
    double total = 0;
    for (int i = 0; i < s.slices; ++i) total += sums[q * each + (size_t(image) * s.slices + i) * s.channels + channel];
    return total;
  }
};

}  // namespace
}  // namespace FEYNKAC_PATH
}  // namespace feynkac
