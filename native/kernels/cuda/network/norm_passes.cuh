// The kernels of group norm's passes: sweeps that sum, small ones that combine the channels of a group into coefficients, and
// sweeps that write; formulas as in kernels/cpu/network/norm.cpp.
#pragma once

#include "kernels/cuda/reduce.cuh"
#include "norm_block.cuh"

namespace feynkac {
namespace FEYNKAC_PATH {
namespace {

// Sums of x - x0 and (x - x0)^2, with x0 the channel's first value: exact to rounding whatever the mean.
template <int V>
__global__ void __launch_bounds__(kBlock) sumMoments(double* sums, size_t each, const float* x, Sweep s) {
  const Place<V> place(s);
  float own[2][V] = {};
  Lanes<V> center = {};
  if (place.inside) center = loadLanes<V>(x + size_t(place.image) * s.pixels * s.channels + place.channel);
  place.forRows(s, [&](size_t at) {
    const Lanes<V> v = loadLanes<V>(x + at);
#pragma unroll
    for (int k = 0; k < V; ++k) {
      const float d = v.v[k] - center.v[k];
      own[0][k] += d;
      own[1][k] += d * d;
    }
  });
  storeSums(sums, own, s, place, each);
}

// A warp for each group: f(channel, add) of its channels, twice; warps after the last group do as it does and write the same.
template <class F>
GPU_FN void forGroups(const Sweep& s, int batch, const F& f) {
  const int groups = s.groups > 0 ? s.groups : s.channels, size = s.channels / groups;
  const int warp = static_cast<int>((size_t(blockIdx.x) * kBlock + threadIdx.x) / 32), last = batch * groups - 1;
  const int mine = min(warp, last);
  f(mine / groups, mine % groups, mine % groups * size, size, threadIdx.x & 31, warp <= last);
}

__global__ void __launch_bounds__(kBlock)
    finishMoments(float* stats, ChannelSums sums, const float* x, const float* e, Sweep s, int batch, float eps) {
  forGroups(s, batch, [&](int image, int group, int first, int size, int lane, bool write) {
    const auto meanOf = [&](int c, double& sum) {
      sum = sums(0, s, image, c);
      const float center = x[size_t(image) * s.pixels * s.channels + c];
      return sum / s.pixels + center + (e != nullptr ? e[size_t(image) * s.channels + c] : 0.0f);
    };
    double mean = 0, sum = 0;
    for (int c = first + lane; c < first + size; c += 32) mean += meanOf(c, sum);
    mean = warpSum(mean) / size;
    double squares = 0;
    for (int c = first + lane; c < first + size; c += 32) {
      const double offset = meanOf(c, sum) - mean;
      squares += sums(1, s, image, c) - sum * sum / s.pixels + s.pixels * offset * offset;
    }
    squares = warpSum(squares);
    if (lane == 0 && write) {
      float* own = stats + 2 * (size_t(image) * s.groups + group);
      own[0] = static_cast<float>(mean);
      own[1] = static_cast<float>(1.0 / sqrt(squares / (double(size) * s.pixels) + double(eps)));
    }
  });
}

template <int V, bool kSilu>
__global__ void __launch_bounds__(kBlock) writePrimal(float* y, Map m, Sweep s) {
  const Place<V> place(s);
  const Affine<V> f(m, s, place);
  place.forRows(s, [&](size_t at) {
    Lanes<V> v = loadLanes<V>(m.x + at);
#pragma unroll
    for (int k = 0; k < V; ++k) v.v[k] = Activation<kSilu>::value(f.scaled(f.normalised(v.v[k], k), k));
    storeLanes(y + at, v);
  });
}

// Coefficients for each image and channel, an array each; null: all zero.
struct Coefficients {
  float* values;
  size_t each;
  template <int V>
  GPU_FN void load(float (&to)[V], int which, const Sweep& s, const Place<V>& place) const {
#pragma unroll
    for (int k = 0; k < V; ++k)
      to[k] = values != nullptr && place.inside ? values[which * each + place.ofChannel(s) + k] : 0.0f;
  }
};

// Where the gradients of the parameters go: dgamma and dbeta of each image, to be summed, and de.
struct ParameterSums {
  double *dgamma, *dbeta;
  float* de;
};

// ---- adjoint: sums of dz, dz xhat, xhat ---------------------------------------------------------------------------------

template <int V, bool kSilu>
__global__ void __launch_bounds__(kBlock) sumAdjoint(double* sums, size_t each, const float* dy, Map m, Sweep s) {
  const Place<V> place(s);
  const Affine<V> f(m, s, place);
  float own[3][V] = {};
  place.forRows(s, [&](size_t at) {
    const Lanes<V> x = loadLanes<V>(m.x + at), d = loadLanes<V>(dy + at);
#pragma unroll
    for (int k = 0; k < V; ++k) {
      const float h = f.normalised(x.v[k], k), dz = d.v[k] * Activation<kSilu>::first(f.scaled(h, k));
      own[0][k] += dz;
      own[1][k] += dz * h;
      own[2][k] += h;
    }
  });
  storeSums(sums, own, s, place, each);
}

// dx = r gamma dz + c[0] + c[1] xhat
__global__ void __launch_bounds__(kBlock)
    finishAdjoint(Coefficients c, ParameterSums out, ChannelSums sums, Map m, Sweep s, int batch) {
  forGroups(s, batch, [&](int image, int group, int first, int size, int lane, bool write) {
    const bool grouped = s.groups > 0;
    const double count = double(size) * s.pixels,
                 r = grouped ? m.stats[2 * (size_t(image) * s.groups + group) + 1] : 1.0;
    double mean = 0, slope = 0;
    for (int j = first + lane; grouped && j < first + size; j += 32) {
      mean += double(m.gamma[m.affine(image, j)]) * sums(0, s, image, j) / count;
      slope += double(m.gamma[m.affine(image, j)]) * sums(1, s, image, j) / count;
    }
    mean = warpSum(mean);
    slope = warpSum(slope);
    for (int j = first + lane; write && j < first + size; j += 32) {
      const size_t at = size_t(image) * s.channels + j;
      c.values[at] = static_cast<float>(-r * mean);
      c.values[c.each + at] = static_cast<float>(-r * slope);
      const double gamma = grouped ? m.gamma[m.affine(image, j)] : 1.0, sz = sums(0, s, image, j);
      if (out.de != nullptr)
        out.de[at] += static_cast<float>(r * (gamma * sz - s.pixels * mean - slope * sums(2, s, image, j)));
      if (out.dgamma != nullptr) {
        out.dgamma[at] = sums(1, s, image, j);
        out.dbeta[at] = sz;
      }
    }
  });
}

template <int V, bool kSilu>
__global__ void __launch_bounds__(kBlock)
    writeAdjoint(float* dx, const float* dy, Map m, Coefficients c, bool accumulate, Sweep s) {
  const Place<V> place(s);
  const Affine<V> f(m, s, place);
  float c0[V], ch[V];
  c.load(c0, 0, s, place);
  c.load(ch, 1, s, place);
  place.forRows(s, [&](size_t at) {
    const Lanes<V> x = loadLanes<V>(m.x + at), d = loadLanes<V>(dy + at);
    Lanes<V> out = {};
    if (accumulate) out = loadLanes<V>(dx + at);
#pragma unroll
    for (int k = 0; k < V; ++k) {
      const float h = f.normalised(x.v[k], k), dz = d.v[k] * Activation<kSilu>::first(f.scaled(h, k));
      out.v[k] = (f.r[k] * f.gamma[k] * dz + (c0[k] + h * ch[k])) + out.v[k];
    }
    storeLanes(dx + at, out);
  });
}

// ---- tangent: sums of x', x' xhat, xhat -----------------------------------------------------------------------------------

template <int V>
__global__ void __launch_bounds__(kBlock) sumTangent(double* sums, size_t each, const float* tx, Map m, Sweep s) {
  const Place<V> place(s);
  const Affine<V> f(m, s, place);
  float own[3][V] = {};
  place.forRows(s, [&](size_t at) {
    const Lanes<V> x = loadLanes<V>(m.x + at), t = loadLanes<V>(tx + at);
#pragma unroll
    for (int k = 0; k < V; ++k) {
      const float h = f.normalised(x.v[k], k);
      own[0][k] += t.v[k];
      own[1][k] += t.v[k] * h;
      own[2][k] += h;
    }
  });
  storeSums(sums, own, s, place, each);
}

// <x'> and <xhat x'> of a group, every lane gets them
GPU_FN void tangentMeans(double& mean, double& slope, const ChannelSums& sums, const Sweep& s, int image, int first,
                         int size, int lane) {
  const double count = double(size) * s.pixels;
  mean = slope = 0;
  for (int j = first + lane; j < first + size; j += 32) {
    mean += sums(0, s, image, j) / count;
    slope += sums(1, s, image, j) / count;
  }
  mean = warpSum(mean);
  slope = warpSum(slope);
}

// xhat' = r x' + c[0] + c[1] xhat
__global__ void __launch_bounds__(kBlock) finishTangent(Coefficients c, ChannelSums sums, Map m, Sweep s, int batch) {
  forGroups(s, batch, [&](int image, int group, int first, int size, int lane, bool write) {
    double mean, slope;
    tangentMeans(mean, slope, sums, s, image, first, size, lane);
    const double r = m.stats[2 * (size_t(image) * s.groups + group) + 1];
    for (int j = first + lane; write && j < first + size; j += 32) {
      const size_t at = size_t(image) * s.channels + j;
      c.values[at] = static_cast<float>(-r * mean);
      c.values[c.each + at] = static_cast<float>(-r * slope);
    }
  });
}

template <int V, bool kSilu>
__global__ void __launch_bounds__(kBlock) writeTangent(float* ty, const float* tx, Map m, Coefficients c, Sweep s) {
  const Place<V> place(s);
  const Affine<V> f(m, s, place);
  float q[V], p[V];
  c.load(q, 0, s, place);
  c.load(p, 1, s, place);
  place.forRows(s, [&](size_t at) {
    const Lanes<V> x = loadLanes<V>(m.x + at);
    Lanes<V> t = loadLanes<V>(tx + at);
#pragma unroll
    for (int k = 0; k < V; ++k) {
      const float h = f.normalised(x.v[k], k), th = f.r[k] * t.v[k] + (q[k] + h * p[k]);
      t.v[k] = th * f.gamma[k] * Activation<kSilu>::first(f.scaled(h, k));
    }
    storeLanes(ty + at, t);
  });
}

// ---- second adjoint: u = a phi'(z), w = b phi'(z) + a phi''(z) gamma xhat'; sums of w, w xhat, u, u xhat, u xhat' -------------

struct SecondInputs {
  const float *by, *ay, *tx;
};

// f(element, channel, xhat, x', w, u, xhat') over the thread's place
template <int V, bool kSilu, class F>
GPU_FN void forSecond(const SecondInputs& in, const Map& m, const Coefficients& tangent, const Sweep& s,
                      const Place<V>& place, const Affine<V>& f, const F& each) {
  float q[V], p[V];
  tangent.load(q, 0, s, place);
  tangent.load(p, 1, s, place);
  place.forRows(s, [&](size_t at) {
    const Lanes<V> x = loadLanes<V>(m.x + at), t = loadLanes<V>(in.tx + at), a = loadLanes<V>(in.ay + at),
                   b = loadLanes<V>(in.by + at);
    Lanes<V> h, u, w, th;
#pragma unroll
    for (int k = 0; k < V; ++k) {
      h.v[k] = f.normalised(x.v[k], k);
      th.v[k] = f.r[k] * t.v[k] + (q[k] + h.v[k] * p[k]);
      float d1, d2;
      Activation<kSilu>::both(f.scaled(h.v[k], k), d1, d2);
      u.v[k] = a.v[k] * d1;
      w.v[k] = b.v[k] * d1 + a.v[k] * d2 * (th.v[k] * f.gamma[k]);
    }
    each(at, h, t, w, u, th);
  });
}

template <int V, bool kSilu>
__global__ void __launch_bounds__(kBlock)
    sumSecond(double* sums, size_t each, SecondInputs in, Map m, Coefficients tangent, Sweep s) {
  const Place<V> place(s);
  const Affine<V> f(m, s, place);
  float own[5][V] = {};
  forSecond<V, kSilu>(
      in, m, tangent, s, place, f,
      [&](size_t, const Lanes<V>& h, const Lanes<V>&, const Lanes<V>& w, const Lanes<V>& u, const Lanes<V>& th) {
#pragma unroll
        for (int k = 0; k < V; ++k) {
          own[0][k] += w.v[k];
          own[1][k] += w.v[k] * h.v[k];
          own[2][k] += u.v[k];
          own[3][k] += u.v[k] * h.v[k];
          own[4][k] += u.v[k] * th.v[k];
        }
      });
  storeSums(sums, own, s, place, each);
}

// dx = r gamma w + c[0] u + c[1] x' + c[2] + c[3] xhat
__global__ void __launch_bounds__(kBlock)
    finishSecond(Coefficients c, ParameterSums out, ChannelSums tangent, ChannelSums sums, Map m, Sweep s, int batch) {
  forGroups(s, batch, [&](int image, int group, int first, int size, int lane, bool write) {
    const bool grouped = s.groups > 0;
    const double r = grouped ? m.stats[2 * (size_t(image) * s.groups + group) + 1] : 1.0;
    double meanT = 0, slopeT = 0;
    if (grouped) tangentMeans(meanT, slopeT, tangent, s, image, first, size, lane);
    double meanW = 0, slopeW = 0, meanU = 0, slopeU = 0, stretch = 0;  // of W = gamma w, U = gamma u, U xhat'
    for (int j = first + lane; grouped && j < first + size; j += 32) {
      const double g = double(m.gamma[m.affine(image, j)]) / (double(size) * s.pixels);
      meanW += g * sums(0, s, image, j);
      slopeW += g * sums(1, s, image, j);
      meanU += g * sums(2, s, image, j);
      slopeU += g * sums(3, s, image, j);
      stretch += g * sums(4, s, image, j);
    }
    meanW = warpSum(meanW);
    slopeW = warpSum(slopeW);
    meanU = warpSum(meanU);
    slopeU = warpSum(slopeU);
    stretch = warpSum(stretch);
    const double mean = meanW - r * (slopeT * meanU + slopeU * meanT),
                 slope = slopeW - 2 * r * slopeT * slopeU + stretch;
    for (int j = first + lane; write && j < first + size; j += 32) {
      const size_t at = size_t(image) * s.channels + j;
      const double gamma = grouped ? m.gamma[m.affine(image, j)] : 1.0, sw = sums(0, s, image, j);
      c.values[at] = static_cast<float>(-r * r * slopeT * gamma);
      c.values[c.each + at] = static_cast<float>(-r * r * slopeU);
      c.values[2 * c.each + at] = static_cast<float>(-r * mean);
      c.values[3 * c.each + at] = static_cast<float>(-r * slope);
      if (out.de != nullptr) {
        double whole = gamma * sw;
        if (grouped)
          whole += -r * (slopeT * gamma * sums(2, s, image, j) + slopeU * tangent(0, s, image, j)) - s.pixels * mean -
                   slope * tangent(2, s, image, j);
        out.de[at] += static_cast<float>(r * whole);
      }
      if (out.dgamma != nullptr) {
        out.dgamma[at] = sums(1, s, image, j) + sums(4, s, image, j);
        out.dbeta[at] = sw;
      }
    }
  });
}

template <int V, bool kSilu>
__global__ void __launch_bounds__(kBlock)
    writeSecond(float* dx, SecondInputs in, Map m, Coefficients tangent, Coefficients c, bool accumulate, Sweep s) {
  const Place<V> place(s);
  const Affine<V> f(m, s, place);
  float cu[V], ct[V], c0[V], ch[V];
  c.load(cu, 0, s, place);
  c.load(ct, 1, s, place);
  c.load(c0, 2, s, place);
  c.load(ch, 3, s, place);
  forSecond<V, kSilu>(
      in, m, tangent, s, place, f,
      [&](size_t at, const Lanes<V>& h, const Lanes<V>& t, const Lanes<V>& w, const Lanes<V>& u, const Lanes<V>&) {
        Lanes<V> out = {};
        if (accumulate) out = loadLanes<V>(dx + at);
#pragma unroll
        for (int k = 0; k < V; ++k)
          out.v[k] = ((f.r[k] * f.gamma[k] * w.v[k] + u.v[k] * cu[k]) + (t.v[k] * ct[k] + (c0[k] + h.v[k] * ch[k]))) +
                     out.v[k];
        storeLanes(dx + at, out);
      });
}

// ---- sums over images --------------------------------------------------------------------------------------------------------

// dgamma[c] += sum over images, dbeta alike
__global__ void __launch_bounds__(kBlock)
    addImages(float* dgamma, float* dbeta, ParameterSums from, int batch, int channels) {
  SHARED(double, part, [kBlock / 32][32]);
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, c = static_cast<int>(blockIdx.x) * 32 + lane;
  for (int which = 0; which < 2; ++which) {
    const double* values = which == 0 ? from.dgamma : from.dbeta;
    double sum = 0;
    for (int b = warp; c < channels && b < batch; b += kBlock / 32) sum += values[size_t(b) * channels + c];
    part[warp][lane] = sum;
    __syncthreads();
    if (warp == 0 && c < channels) {
      for (int k = 1; k < kBlock / 32; ++k) sum += part[k][lane];
      float& to = which == 0 ? dgamma[c] : dbeta[c];
      to += static_cast<float>(sum);
    }
    __syncthreads();
  }
}

}  // namespace
}  // namespace FEYNKAC_PATH
}  // namespace feynkac
