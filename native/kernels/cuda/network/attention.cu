// Softmax attention: the four passes of attention_tile.cuh. A kernel for the row means, then one for each output, whose blocks
// own tiles of it: nothing is added up between blocks. Factors are rounded to TF32 also for kBf16.
#include <cmath>
#include <type_traits>

#include "attention_tile.cuh"
#include "kernels/cuda/cuda_kernels.h"

namespace feynkac {
namespace FEYNKAC_PATH {
namespace {

// The sum over the lanes that share a row.
GPU_FN float rowSum(float v) {
  v += __shfl_xor_sync(gpu::kFull, v, 1);
  return v + __shfl_xor_sync(gpu::kFull, v, 2);
}
GPU_FN float rowMax(float v) {
  v = fmaxf(v, __shfl_xor_sync(gpu::kFull, v, 1));
  return fmaxf(v, __shfl_xor_sync(gpu::kFull, v, 2));
}

// Sums over columns weighted by exp(S - max): of 1, T, A, B + A T.
struct RowSums {
  float max = -INFINITY, one = 0, t = 0, a = 0, b = 0;
  GPU_FN void rescale(float newMax) {
    const float f = max == -INFINITY ? 0.0f : expf(max - newMax);
    max = newMax;
    one *= f;
    t *= f;
    a *= f;
    b *= f;
  }
  GPU_FN void merge(const RowSums& other) {
    RowSums scaled = other;
    const float both = fmaxf(max, other.max);
    rescale(both);
    scaled.rescale(both);
    one += scaled.one;
    t += scaled.t;
    a += scaled.a;
    b += scaled.b;
  }
};

// One block per image, head and tile of queries.
template <Precision P, Pass kPass>
__global__ void __launch_bounds__(kThreads, 1)
    rowMeans(RowStats stats, const __grid_constant__ AttentionArrays arrays, const __grid_constant__ AttentionSizes s) {
  DYN_SHARED(AttentionShared, shared);
  SHARED(RowSums, other, [kTile]);
  constexpr bool kT = kPass == Pass::kTangent || kPass == Pass::kSecond,
                 kA = kPass == Pass::kAdjoint || kPass == Pass::kSecond, kB = kPass == Pass::kSecond;
  const int rowTiles = (s.tokens + kTile - 1) / kTile, head = static_cast<int>(blockIdx.x) / rowTiles % s.heads,
            image = static_cast<int>(blockIdx.x) / rowTiles / s.heads,
            first = static_cast<int>(blockIdx.x) % rowTiles * kTile;
  const Head here(arrays, s, image, head);
  const Warp w;
  RowSums sums[2];
  for (int column = 0; column < s.tokens; column += kTile) {
    const Scores<P, false> scores{*shared, here, first, column};
    ScoreTiles tiles;
    tiles.make<kT, kA, kB>(scores);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float most = -INFINITY;
#pragma unroll
      for (int j = 0; j < 4; ++j)
#pragma unroll
        for (int e = 2 * half; e < 2 * half + 2; ++e)
          if (column + w.columnOf(j, e) < s.tokens) most = fmaxf(most, tiles.S[0][j][e]);
      most = fmaxf(rowMax(most), sums[half].max);
      RowSums& sum = sums[half];
      sum.rescale(most);
      float one = 0, t = 0, a = 0, b = 0;
#pragma unroll
      for (int j = 0; j < 4; ++j)
#pragma unroll
        for (int e = 2 * half; e < 2 * half + 2; ++e) {
          const float p = column + w.columnOf(j, e) < s.tokens ? expf(tiles.S[0][j][e] - most) : 0.0f;
          one += p;
          if constexpr (kT) t += p * tiles.T[0][j][e];
          if constexpr (kA) a += p * tiles.A[0][j][e];
          if constexpr (kB) b += p * (tiles.B[0][j][e] + tiles.A[0][j][e] * tiles.T[0][j][e]);
        }
      sum.one += rowSum(one);
      if constexpr (kT) sum.t += rowSum(t);
      if constexpr (kA) sum.a += rowSum(a);
      if constexpr (kB) sum.b += rowSum(b);
    }
  }
  // The two warps of a row have each seen half of the columns.
  const bool leads = (w.lane & 3) == 0;
  if (w.column > 0 && leads)
    for (int half = 0; half < 2; ++half) other[w.rowOf(2 * half)] = sums[half];
  __syncthreads();
  for (int half = 0; half < 2; ++half) {
    const int row = w.rowOf(2 * half);
    if (w.column > 0 || !leads || first + row >= s.tokens) continue;
    RowSums sum = sums[half];
    sum.merge(other[row]);
    const size_t at = (static_cast<size_t>(image) * s.heads + head) * s.tokens + first + row;
    const float m = sum.t / sum.one, a = sum.a / sum.one;
    stats.of(0)[at] = sum.max + logf(sum.one);
    if constexpr (kT) stats.of(1)[at] = m;
    if constexpr (kA) stats.of(2)[at] = a;
    if constexpr (kB) stats.of(3)[at] = sum.b / sum.one - 2 * a * m;
  }
}

// What a kernel makes: rows of it are queries, or keys.
enum class Output { kQueries, kKeys, kValues };

// out = scale sum over tiles of X1 Y1 (+ X2 Y2), with X1, X2 score matrices and Y1, Y2 arrays.
struct Destination {
  float* data;
  int stride;
  float scale;
};

// kChunks x kTile channels of a tile of rows for each block.
template <Precision P, Pass kPass, Output kOutput, int kChunks>
__global__ void __launch_bounds__(kThreads, 1)
    writeRows(Destination out, RowStats stats, const __grid_constant__ AttentionArrays arrays,
              const __grid_constant__ AttentionSizes s) {
  DYN_SHARED(AttentionShared, shared);
  constexpr bool kKeyRows = kOutput != Output::kQueries, kValues = kOutput == Output::kValues;
  constexpr bool kSecond = kPass == Pass::kSecond, kTwo = kSecond || kPass == Pass::kTangent;
  constexpr bool kT = kTwo, kA = !kValues && (kPass == Pass::kAdjoint || kSecond), kB = !kValues && kSecond;
  float(*factors)[kTile][kPitchScore] = reinterpret_cast<float(*)[kTile][kPitchScore]>(shared + 1);
  float* values = shared->rows[0][0];  // a chunk of Y, once the scores are done

  const int groups = (s.channels + kChunks * kTile - 1) / (kChunks * kTile), rowTiles = (s.tokens + kTile - 1) / kTile;
  int block = static_cast<int>(blockIdx.x);
  const int firstChannel = block % groups * kChunks * kTile;
  block /= groups;
  const int first = block % rowTiles * kTile, head = block / rowTiles % s.heads, image = block / rowTiles / s.heads;
  const Head here(arrays, s, image, head);
  const size_t statsAt = (static_cast<size_t>(image) * s.heads + head) * s.tokens;
  const Warp w;

  // Y1 and Y2
  Operand y1, y2 = {};
  if constexpr (kOutput == Output::kQueries) {
    y1 = kPass == Pass::kForward || kPass == Pass::kTangent ? arrays.v : arrays.k;
    if constexpr (kTwo) y2 = kSecond ? arrays.tk : arrays.tv;
  } else if constexpr (kOutput == Output::kKeys) {
    y1 = arrays.q;
    if constexpr (kTwo) y2 = arrays.tq;
  } else {
    y1 = kSecond ? arrays.bo : arrays.ao;
    if constexpr (kTwo) y2 = arrays.ao;
  }

  Fragment acc[kChunks] = {};
  for (int column = 0; column < s.tokens; column += kTile) {
    const Scores<P, kKeyRows> scores{*shared, here, first, column};
    ScoreTiles tiles;
    tiles.make<kT, kA, kB>(scores);
#pragma unroll
    for (int j = 0; j < 4; ++j)
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int r = w.rowOf(e), c = w.columnOf(j, e);
        const bool inside = first + r < s.tokens && column + c < s.tokens;
        const size_t query = statsAt + (inside ? (kKeyRows ? column + c : first + r) : 0);
        const float p = inside ? expf(tiles.S[0][j][e] - stats.of(0)[query]) : 0.0f;
        float x1 = p, x2 = 0;
        if constexpr (kPass == Pass::kTangent || (kValues && kSecond)) {
          const float rate = p * (tiles.T[0][j][e] - stats.of(1)[query]);
          x1 = kValues ? p : rate;
          x2 = kValues ? rate : p;
        } else if constexpr (kA) {
          const float t = tiles.T[0][j][e], a = tiles.A[0][j][e], mean = stats.of(2)[query];
          x1 = x2 = p * (a - mean);
          if constexpr (kSecond)
            x1 = p * (tiles.B[0][j][e] + a * (t - stats.of(1)[query]) - mean * t - stats.of(3)[query]);
        }
        factors[0][r][c] = x1;
        if constexpr (kTwo) factors[1][r][c] = x2;
      }
    const auto add = [&](const Operand& y, const float(&x)[kTile][kPitchScore]) {
#pragma unroll
      for (int chunk = 0; chunk < kChunks; ++chunk) {
        here.load<kTile, kPitchOut>(values, y, column, firstChannel + chunk * kTile);
        gpu::commitCopies();
        gpu::waitCopies<0>();
        __syncthreads();
#pragma unroll
        for (int k = 0; k < kTile; k += 8) {
          uint32_t a[1][4], b[4][2];
          gpu::loadMatrices(a[0], &x[w.row + (w.lane & 15)][k + (w.lane >> 4) * 4]);
#pragma unroll
          for (int j = 0; j < 4; ++j)
#pragma unroll
            for (int q = 0; q < 2; ++q)
              b[j][q] =
                  __float_as_uint(values[(k + (w.lane & 3) + q * 4) * kPitchOut + w.column + j * 8 + (w.lane >> 2)]);
          multiplyFloats<P>(acc[chunk], a, b);
        }
        __syncthreads();  // before the memory is used again
      }
    };
    add(y1, factors[0]);
    if constexpr (kTwo) add(y2, factors[1]);
  }
  const size_t origin = static_cast<size_t>(image) * s.tokens * out.stride + static_cast<size_t>(head) * s.channels;
#pragma unroll
  for (int chunk = 0; chunk < kChunks; ++chunk)
#pragma unroll
    for (int j = 0; j < 4; ++j)
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int row = first + w.rowOf(e), channel = firstChannel + chunk * kTile + w.columnOf(j, e);
        if (row < s.tokens && channel < s.channels)
          out.data[origin + static_cast<size_t>(row) * out.stride + channel] = out.scale * acc[chunk][0][j][e];
      }
}

// The launches of a pass.
class Launches {
 public:
  Launches(Context& context, Precision precision, const AttentionShape& shape, const AttentionArrays& arrays)
      : context_(context), precision_(precision), shape_(shape), arrays_(arrays) {
    const auto good = [](const Operand& o) { return aligned16(o.data); };
    s_ = {shape.tokens, shape.heads, shape.channels, 1.0f / std::sqrt(static_cast<float>(shape.channels)),
          shape.channels % 4 == 0 && good(arrays.q) && good(arrays.tq) && good(arrays.ao) && good(arrays.bo)};
    const size_t rows = size_t(shape.batch) * shape.heads * shape.tokens;
    stats_ = {context.scratch<float>(4 * rows), rows};
    tiles_ = cover(shape.tokens, kTile) * shape.heads * shape.batch;
  }

  template <Pass kPass>
  void means() {
    withProducts([&](auto p) {
      const auto kernel = rowMeans<p(), kPass>;
      allowShared(kernel, sizeof(AttentionShared));
      LAUNCH((kernel), tiles_, kThreads, sizeof(AttentionShared), context_.stream())(stats_, arrays_, s_);
    });
  }
  template <Pass kPass, Output kOutput>
  void write(const Destination& out) {
    withProducts([&](auto p) {
#ifdef GPU_PLAIN
      launch<p(), kPass, kOutput, 1>(out);
#else
      constexpr int kMost = kPass == Pass::kForward || kPass == Pass::kAdjoint ? 4 : 2;  // as the registers allow
      if (shape_.channels <= kTile)
        launch<p(), kPass, kOutput, 1>(out);
      else
        launch<p(), kPass, kOutput, kMost>(out);
#endif
    });
  }

 private:
  template <Precision P, Pass kPass, Output kOutput, int kChunks>
  void launch(const Destination& out) {
    constexpr bool kTwo = kPass == Pass::kSecond || kPass == Pass::kTangent;
    constexpr size_t kBytes = sizeof(AttentionShared) + (kTwo ? 2 : 1) * sizeof(float) * kTile * kPitchScore;
    const auto kernel = writeRows<P, kPass, kOutput, kChunks>;
    allowShared(kernel, kBytes);
    LAUNCH((kernel), tiles_ * cover(shape_.channels, kChunks * kTile), kThreads, kBytes, context_.stream())
    (out, stats_, arrays_, s_);
  }
  template <class F>
  void withProducts(const F& f) {
    if (precision_ == Precision::kFp32)
      f(std::integral_constant<Precision, Precision::kFp32>());
    else
      f(std::integral_constant<Precision, Precision::kTf32>());
    launched("attention");
  }

  Context& context_;
  Precision precision_;
  AttentionShape shape_;
  AttentionArrays arrays_;
  AttentionSizes s_;
  RowStats stats_;
  unsigned tiles_;
};

// qkv is [batch, tokens, 3, heads, channels], o is [batch, tokens, heads, channels].
AttentionArrays arraysOf(const AttentionShape& s, const float* qkv, const float* tqkv, const float* ao,
                         const float* bo) {
  const int row = s.heads * s.channels;
  const auto part = [&](const float* p, int which) { return Operand{p == nullptr ? p : p + which * row, 3 * row}; };
  return {part(qkv, 0), part(qkv, 1), part(qkv, 2), part(tqkv, 0), part(tqkv, 1), part(tqkv, 2), {ao, row}, {bo, row}};
}

// Adjoint and second adjoint write the three parts of dqkv.
template <Pass kPass>
void writeGradients(Launches& launches, float* dqkv, const AttentionShape& s) {
  const int row = s.heads * s.channels;
  const float scale = 1.0f / std::sqrt(static_cast<float>(s.channels));
  launches.means<kPass>();
  launches.write<kPass, Output::kQueries>({dqkv, 3 * row, scale});
  launches.write<kPass, Output::kKeys>({dqkv + row, 3 * row, scale});
  launches.write<kPass, Output::kValues>({dqkv + 2 * row, 3 * row, 1.0f});
}

}  // namespace

void CudaKernels::run(const op::Attention& o) {
  const AttentionShape& s = o.s;
  Launches launches(context_, precision_, s, arraysOf(s, o.qkv, nullptr, nullptr, nullptr));
  launches.means<Pass::kForward>();
  launches.write<Pass::kForward, Output::kQueries>({o.o, s.heads * s.channels, 1.0f});
}

void CudaKernels::run(const op::AttentionTangent& o) {
  const AttentionShape& s = o.s;
  Launches launches(context_, precision_, s, arraysOf(s, o.qkv, o.tqkv, nullptr, nullptr));
  launches.means<Pass::kTangent>();
  launches.write<Pass::kTangent, Output::kQueries>({o.to, s.heads * s.channels, 1.0f});
}

void CudaKernels::run(const op::AttentionAdjoint& o) {
  const AttentionShape& s = o.s;
  Launches launches(context_, precision_, s, arraysOf(s, o.qkv, nullptr, o.ao, nullptr));
  writeGradients<Pass::kAdjoint>(launches, o.dqkv, s);
}

void CudaKernels::run(const op::AttentionSecond& o) {
  const AttentionShape& s = o.s;
  Launches launches(context_, precision_, s, arraysOf(s, o.qkv, o.tqkv, o.ao, o.bo));
  writeGradients<Pass::kSecond>(launches, o.dqkv, s);
}

}  // namespace FEYNKAC_PATH
}  // namespace feynkac
