// Resampling by a separable filter, by gathering: every output pixel sums the taps that reach it, so each has one
// owner.
#include "kernels/cpu/cpu_kernels.h"

namespace feynkac {
namespace FEYNKAC_ISA {

namespace {

constexpr int kMaxTaps = 8;

// The inputs along one axis that an output position reads: positions and weights.
struct Reach {
  int n = 0;
  int at[kMaxTaps];
  float weight[kMaxTaps];

  void add(int position, int size, float w) {
    if (position < 0 || position >= size) return;
    at[n] = position;
    weight[n++] = w;
  }
  static Reach down(int i, int size, const float* taps, int n) {
    Reach r;
    for (int p = 0; p < n; ++p) r.add(2 * i + p - (n - 1) / 2, size, taps[p]);
    return r;
  }
  static Reach up(int i, int size, const float* taps, int n) {  // all j, p with 2 j + p - pad = i
    Reach r;
    const int pad = (n - 1) / 2;
    for (int p = (i + pad) % 2; p < n; p += 2) r.add((i + pad - p) / 2, size, taps[p]);
    return r;
  }
};

// One output pixel: y[c] (+)= gain sum over the reached pixels
void gather(float* y, const float* x, const Reach& rows, const Reach& columns, float gain, bool accumulate, int width,
            int channels) {
  const float* source[kMaxTaps * kMaxTaps];
  float weight[kMaxTaps * kMaxTaps];
  int n = 0;
  for (int p = 0; p < rows.n; ++p)
    for (int q = 0; q < columns.n; ++q) {
      source[n] = x + (size_t(rows.at[p]) * width + columns.at[q]) * channels;
      weight[n++] = gain * rows.weight[p] * columns.weight[q];
    }
  int c = 0;
  for (; c + kLanes <= channels; c += kLanes) {
    vf s = accumulate ? load(y + c) : vf{};
    for (int k = 0; k < n; ++k) s += load(source[k] + c) * weight[k];
    store(y + c, s);
  }
  if (c < channels) {
    const int left = channels - c;
    vf s = accumulate ? loadTail(y + c, left) : vf{};
    for (int k = 0; k < n; ++k) s += loadTail(source[k] + c, left) * weight[k];
    storeTail(y + c, s, left);
  }
}

}  // namespace

void CpuKernels::run(const op::Downsample& o) {
  const int outHeight = o.height / 2, outWidth = o.width / 2;
  parallelFor(o.batch * outHeight, [&](int piece) {
    const int b = piece / outHeight, i = piece % outHeight;
    const Reach rows = Reach::down(i, o.height, o.taps, o.n);
    const float* image = o.x + size_t(b) * o.height * o.width * o.channels;
    for (int j = 0; j < outWidth; ++j)
      gather(o.y + (size_t(piece) * outWidth + j) * o.channels, image, rows, Reach::down(j, o.width, o.taps, o.n),
             o.gain, o.accumulate, o.width, o.channels);
  });
}

void CpuKernels::run(const op::Upsample& o) {
  const int outHeight = 2 * o.height, outWidth = 2 * o.width;
  parallelFor(o.batch * outHeight, [&](int piece) {
    const int b = piece / outHeight, i = piece % outHeight;
    const Reach rows = Reach::up(i, o.height, o.taps, o.n);
    const float* image = o.x + size_t(b) * o.height * o.width * o.channels;
    for (int j = 0; j < outWidth; ++j)
      gather(o.y + (size_t(piece) * outWidth + j) * o.channels, image, rows, Reach::up(j, o.width, o.taps, o.n), o.gain,
             o.accumulate, o.width, o.channels);
  });
}

}  // namespace FEYNKAC_ISA
}  // namespace feynkac
