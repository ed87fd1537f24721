// Softmax attention and the passes of docs/concepts/distillation.md, a piece for each (sample, head) or, of few, for each range of its
// queries. With s = 1/sqrt(channels):
//   P = softmax(s q k^T), o = P v
//   adjoint   dP = a v^T, dS = P o (dP - rowsum(P o dP)); dq = s dS k, dk = s dS^T q, dv = P^T a
//   tangent   S' = s (q' k^T + q k'^T), P' = P o (S' - r), r = rowsum(P o S'); o' = P' v + P v'
//   second    dP' = a v^T, dP = b v^T + a v'^T + dP' o (S' - r) - S' rowsum(P o dP')   (of P' and P)
//             dS' = P o (dP' - rowsum(P o dP')), dS = P o (dP - rowsum(P o dP))
//             dq = s (dS k + dS' k'), dk = s (dS^T q + dS'^T q'), dv = P^T b + P'^T a
// Query rows go through in blocks, so tokens x tokens matrices exist only a block of rows at a time; each pass makes P
// anew. Everything is padded to whole vectors: padded channels are zeros, padded tokens have P = 0. The scale is put
// into the copies of q and k.
#include "kernels/cpu/cpu_kernels.h"
#include "kernels/cpu/small_gemm.h"
#include "transpose.h"

namespace feynkac {
namespace FEYNKAC_ISA {

namespace {

constexpr size_t kBlockFloats = 32768;  // of each tokens-wide matrix of a block of rows
constexpr size_t kLargeHead = 32768;  // tokens channels, beyond which queries are two ranges, each with sums of its own
constexpr int kFewHeads = 4;          // of a batch, fewer than which make a piece of each range

int wholeVectors(int n) { return (n + kLanes - 1) / kLanes * kLanes; }

struct Rows {
  int first, last;  // last + 1
};

// One head of one sample: strided views of its inputs and the sizes of its blocks.
struct Head {
  int tokens, channels;
  int tokensPadded, channelsPadded;
  int blockRows;
  size_t qkvStride, oStride;  // from token to token
  size_t qkvOrigin, oOrigin;  // of q and of o
  size_t part;                // from q to k and from k to v
  float scale;

  Head(const AttentionShape& s, int piece)
      : tokens(s.tokens),
        channels(s.channels),
        tokensPadded(wholeVectors(s.tokens)),
        channelsPadded(wholeVectors(s.channels)),
        qkvStride(3 * size_t(s.heads) * s.channels),
        oStride(size_t(s.heads) * s.channels),
        part(oStride),
        scale(static_cast<float>(1.0 / __builtin_sqrt(double(s.channels)))) {
    const size_t b = piece / s.heads, h = piece % s.heads;
    qkvOrigin = b * tokens * qkvStride + h * channels;
    oOrigin = b * tokens * oStride + h * channels;
    const int rows = static_cast<int>(kBlockFloats / tokensPadded);
    const int most = range(0).last;
    blockRows = rows >= most ? most : rows < 12 ? 12 : rows / 6 * 6;
    if (blockRows > most) blockRows = most;
  }
  int ranges() const { return size_t(tokens) * channels > kLargeHead ? 2 : 1; }
  Rows range(int i) const {
    const int half = (tokens + 1) / 2;
    return ranges() == 1 ? Rows{0, tokens} : i == 0 ? Rows{0, half} : Rows{half, tokens};
  }
  size_t rowsSize() const { return size_t(tokens) * channelsPadded; }      // of packed or summed rows of all tokens
  size_t columnsSize() const { return size_t(channels) * tokensPadded; }   // of a packed transpose
  size_t scoresSize() const { return size_t(blockRows) * tokensPadded; }   // of a block of a tokens-wide matrix
  size_t sumsSize() const { return 2 * rowsSize(); }                       // of dk and dv
  size_t blockSize() const { return size_t(blockRows) * channelsPadded; }  // of a block of rows of channels
};

// to[t, :] = scale from[t, :], padded
void packRows(float* to, const float* from, size_t stride, int rows, int channels, int padded, float scale) {
  const int whole = channels / kLanes * kLanes;
  for (int t = 0; t < rows; ++t) {
    for (int c = 0; c < whole; c += kLanes) store(to + c, load(from + c) * scale);
    if (whole < channels) store(to + whole, loadTail(from + whole, channels - whole) * scale);
    to += padded;
    from += stride;
  }
}

// to[:, t] = scale from[t, :], padded; squares of whole vectors are transposed in registers
void packColumns(float* to, const float* from, size_t stride, const Head& h, float scale) {
  for (int t0 = 0; t0 < h.tokensPadded; t0 += kLanes) {
    int c = 0;
    for (; t0 + kLanes <= h.tokens && c + kLanes <= h.channels; c += kLanes) {
      float square[kLanes * kLanes];
      transpose(square, kLanes, from + t0 * stride + c, stride);
      for (int i = 0; i < kLanes; ++i)
        store(to + size_t(c + i) * h.tokensPadded + t0, load(square + i * kLanes) * scale);
    }
    for (; c < h.channels; ++c) {
      vf v = {};
      for (int l = 0; l < kLanes && t0 + l < h.tokens; ++l) v[l] = from[(t0 + l) * stride + c] * scale;
      store(to + size_t(c) * h.tokensPadded + t0, v);
    }
  }
}

void unpackRows(float* to, size_t stride, const float* from, int rows, const Head& h) {
  const int whole = h.channels / kLanes * kLanes;
  for (int t = 0; t < rows; ++t) {
    for (int c = 0; c < whole; c += kLanes) store(to + c, load(from + c));
    if (whole < h.channels) storeTail(to + whole, load(from + whole), h.channels - whole);
    from += h.channelsPadded;
    to += stride;
  }
}

// Rows of scores to probabilities, in place.
void softmaxRows(float* p, int rows, const Head& h) {
  const vi valid = firstLanes(h.tokens - (h.tokensPadded - kLanes));
  const int last = h.tokensPadded - kLanes;
  for (int i = 0; i < rows; ++i, p += h.tokensPadded) {
    store(p + last, valid ? load(p + last) : splat(-INFINITY));
    vf top = load(p);
    for (int j = kLanes; j <= last; j += kLanes) top = max(top, load(p + j));
    const float peak = maxLane(top);
    vf total = {};
    for (int j = 0; j <= last; j += kLanes) {
      const vf v = exp(load(p + j) - peak);
      store(p + j, v);
      total += v;
    }
    const float inverse = 1.0f / sum(total);
    for (int j = 0; j <= last; j += kLanes) store(p + j, load(p + j) * inverse);
  }
}

// The product of one row with another, in float32 vectors: sum_j p[j] x[j]
FEYNKAC_INLINE float rowDot(const float* p, const float* x, int n) {
  vf s = {};
  for (int j = 0; j < n; j += kLanes) s += load(p + j) * load(x + j);
  return sum(s);
}

// x = P o (x - rowsum(P o x)) in place: the softmax's Jacobian, which is symmetric. Returns nothing; rowsums go to r if
// wanted.
void throughSoftmax(float* x, const float* p, int rows, const Head& h) {
  for (int i = 0; i < rows; ++i, x += h.tokensPadded, p += h.tokensPadded) {
    const float r = rowDot(p, x, h.tokensPadded);
    for (int j = 0; j < h.tokensPadded; j += kLanes) store(x + j, load(p + j) * (load(x + j) - r));
  }
}

// Hands out pieces of one scratch array.
class Carver {
 public:
  explicit Carver(size_t floats) : next_(scratch(0, floats)) {}
  float* take(size_t n) {
    float* p = next_;
    next_ += n;
    return p;
  }

 private:
  float* next_;
};

GemmA rowMajor(const float* p, size_t stride) { return {p, stride, 1}; }
GemmA transposed(const float* p, size_t stride) { return {p, 1, stride}; }

void forwardRange(float* o, const float* qkv, const Head& h, const Rows& range) {
  Carver memory(h.columnsSize() + h.rowsSize() + h.scoresSize() + h.blockSize());
  float *kT = memory.take(h.columnsSize()), *v = memory.take(h.rowsSize()), *p = memory.take(h.scoresSize()),
        *block = memory.take(h.blockSize());
  const int tp = h.tokensPadded, cp = h.channelsPadded;
  packColumns(kT, qkv + h.part, h.qkvStride, h, h.scale);
  packRows(v, qkv + 2 * h.part, h.qkvStride, h.tokens, h.channels, cp, 1.0f);
  for (int i = range.first; i < range.last; i += h.blockRows) {
    const int rows = range.last - i < h.blockRows ? range.last - i : h.blockRows;
    gemm(p, tp, rowMajor(qkv + i * h.qkvStride, h.qkvStride), kT, tp, rows, tp, h.channels, false);
    softmaxRows(p, rows, h);
    gemm(block, cp, rowMajor(p, tp), v, cp, rows, cp, h.tokens, false);
    unpackRows(o + i * h.oStride, h.oStride, block, rows, h);
  }
}

void adjointRanges(float* dqkv, float* sums, const float* a, const float* qkv, const Head& h, const Rows& ranges) {
  Carver memory(2 * h.columnsSize() + h.rowsSize() + 2 * h.scoresSize() + 3 * h.blockSize());
  float *kT = memory.take(h.columnsSize()), *vT = memory.take(h.columnsSize()), *k = memory.take(h.rowsSize()),
        *p = memory.take(h.scoresSize()), *d = memory.take(h.scoresSize()), *qBlock = memory.take(h.blockSize()),
        *aBlock = memory.take(h.blockSize()), *dq = memory.take(h.blockSize());
  const int tp = h.tokensPadded, cp = h.channelsPadded;
  packColumns(kT, qkv + h.part, h.qkvStride, h, h.scale);
  packColumns(vT, qkv + 2 * h.part, h.qkvStride, h, 1.0f);
  packRows(k, qkv + h.part, h.qkvStride, h.tokens, h.channels, cp, h.scale);
  for (int r = ranges.first; r < ranges.last; ++r) {
    const Rows range = h.range(r);
    float *dk = sums + r * h.sumsSize(), *dv = dk + h.rowsSize();
    for (int i = range.first; i < range.last; i += h.blockRows) {
      const int rows = range.last - i < h.blockRows ? range.last - i : h.blockRows;
      const float *q = qkv + i * h.qkvStride, *ai = a + i * h.oStride;
      packRows(qBlock, q, h.qkvStride, rows, h.channels, cp, h.scale);
      packRows(aBlock, ai, h.oStride, rows, h.channels, cp, 1.0f);
      gemm(p, tp, rowMajor(q, h.qkvStride), kT, tp, rows, tp, h.channels, false);
      softmaxRows(p, rows, h);
      gemm(d, tp, rowMajor(ai, h.oStride), vT, tp, rows, tp, h.channels, false);
      throughSoftmax(d, p, rows, h);
      gemm(dq, cp, rowMajor(d, tp), k, cp, rows, cp, h.tokens, false);
      gemm(dk, cp, transposed(d, tp), qBlock, cp, h.tokens, cp, rows, i > range.first);
      gemm(dv, cp, transposed(p, tp), aBlock, cp, h.tokens, cp, rows, i > range.first);
      unpackRows(dqkv + i * h.qkvStride, h.qkvStride, dq, rows, h);
    }
  }
}

void tangentRange(float* to, const float* tqkv, const float* qkv, const Head& h, const Rows& range) {
  Carver memory(2 * h.columnsSize() + 2 * h.rowsSize() + 2 * h.scoresSize() + h.blockSize());
  float *kT = memory.take(h.columnsSize()), *tkT = memory.take(h.columnsSize()), *v = memory.take(h.rowsSize()),
        *tv = memory.take(h.rowsSize()), *p = memory.take(h.scoresSize()), *tp_ = memory.take(h.scoresSize()),
        *block = memory.take(h.blockSize());
  const int tp = h.tokensPadded, cp = h.channelsPadded;
  packColumns(kT, qkv + h.part, h.qkvStride, h, h.scale);
  packColumns(tkT, tqkv + h.part, h.qkvStride, h, h.scale);
  packRows(v, qkv + 2 * h.part, h.qkvStride, h.tokens, h.channels, cp, 1.0f);
  packRows(tv, tqkv + 2 * h.part, h.qkvStride, h.tokens, h.channels, cp, 1.0f);
  for (int i = range.first; i < range.last; i += h.blockRows) {
    const int rows = range.last - i < h.blockRows ? range.last - i : h.blockRows;
    const GemmA q = rowMajor(qkv + i * h.qkvStride, h.qkvStride), tq = rowMajor(tqkv + i * h.qkvStride, h.qkvStride);
    gemm(p, tp, q, kT, tp, rows, tp, h.channels, false);
    softmaxRows(p, rows, h);
    gemm(tp_, tp, q, tkT, tp, rows, tp, h.channels, false);
    gemm(tp_, tp, tq, kT, tp, rows, tp, h.channels, true);
    throughSoftmax(tp_, p, rows, h);
    gemm(block, cp, rowMajor(tp_, tp), v, cp, rows, cp, h.tokens, false);
    gemm(block, cp, rowMajor(p, tp), tv, cp, rows, cp, h.tokens, true);
    unpackRows(to + i * h.oStride, h.oStride, block, rows, h);
  }
}

// In place over rows of P, S', dP' and the first two terms of dP: P stays, then P', dS', dS.
void secondThroughSoftmax(const float* p, float* ts, float* dtp, float* dp, int rows, const Head& h) {
  const int tp = h.tokensPadded;
  for (int i = 0; i < rows; ++i, p += tp, ts += tp, dtp += tp, dp += tp) {
    const float r = rowDot(p, ts, tp), g = rowDot(p, dtp, tp);
    vf total = {};
    for (int j = 0; j < tp; j += kLanes) {
      const vf pj = load(p + j), s = load(ts + j), dt = load(dtp + j);
      const vf full = load(dp + j) + dt * (s - r) - s * g;
      store(dp + j, full);
      store(ts + j, pj * (s - r));
      store(dtp + j, pj * (dt - g));
      total += pj * full;
    }
    const float mean = sum(total);
    for (int j = 0; j < tp; j += kLanes) store(dp + j, load(p + j) * (load(dp + j) - mean));
  }
}

void secondRanges(float* dqkv, float* sums, const float* b, const float* a, const float* tqkv, const float* qkv,
                  const Head& h, const Rows& ranges) {
  Carver memory(4 * h.columnsSize() + 2 * h.rowsSize() + 4 * h.scoresSize() + 5 * h.blockSize());
  float *kT = memory.take(h.columnsSize()), *vT = memory.take(h.columnsSize()), *tkT = memory.take(h.columnsSize()),
        *tvT = memory.take(h.columnsSize()), *k = memory.take(h.rowsSize()), *tk = memory.take(h.rowsSize()),
        *p = memory.take(h.scoresSize()), *ts = memory.take(h.scoresSize()), *dtp = memory.take(h.scoresSize()),
        *dp = memory.take(h.scoresSize()), *qBlock = memory.take(h.blockSize()), *tqBlock = memory.take(h.blockSize()),
        *aBlock = memory.take(h.blockSize()), *bBlock = memory.take(h.blockSize()), *dq = memory.take(h.blockSize());
  const int tp = h.tokensPadded, cp = h.channelsPadded;
  packColumns(kT, qkv + h.part, h.qkvStride, h, h.scale);
  packColumns(tkT, tqkv + h.part, h.qkvStride, h, h.scale);
  packColumns(vT, qkv + 2 * h.part, h.qkvStride, h, 1.0f);
  packColumns(tvT, tqkv + 2 * h.part, h.qkvStride, h, 1.0f);
  packRows(k, qkv + h.part, h.qkvStride, h.tokens, h.channels, cp, h.scale);
  packRows(tk, tqkv + h.part, h.qkvStride, h.tokens, h.channels, cp, h.scale);
  for (int r = ranges.first; r < ranges.last; ++r) {
    const Rows range = h.range(r);
    float *dk = sums + r * h.sumsSize(), *dv = dk + h.rowsSize();
    for (int i = range.first; i < range.last; i += h.blockRows) {
      const int rows = range.last - i < h.blockRows ? range.last - i : h.blockRows;
      const float *q = qkv + i * h.qkvStride, *tq = tqkv + i * h.qkvStride, *ai = a + i * h.oStride,
                  *bi = b + i * h.oStride;
      packRows(qBlock, q, h.qkvStride, rows, h.channels, cp, h.scale);
      packRows(tqBlock, tq, h.qkvStride, rows, h.channels, cp, h.scale);
      packRows(aBlock, ai, h.oStride, rows, h.channels, cp, 1.0f);
      packRows(bBlock, bi, h.oStride, rows, h.channels, cp, 1.0f);
      gemm(p, tp, rowMajor(q, h.qkvStride), kT, tp, rows, tp, h.channels, false);
      softmaxRows(p, rows, h);
      gemm(ts, tp, rowMajor(q, h.qkvStride), tkT, tp, rows, tp, h.channels, false);
      gemm(ts, tp, rowMajor(tq, h.qkvStride), kT, tp, rows, tp, h.channels, true);
      gemm(dtp, tp, rowMajor(ai, h.oStride), vT, tp, rows, tp, h.channels, false);
      gemm(dp, tp, rowMajor(bi, h.oStride), vT, tp, rows, tp, h.channels, false);
      gemm(dp, tp, rowMajor(ai, h.oStride), tvT, tp, rows, tp, h.channels, true);
      secondThroughSoftmax(p, ts, dtp, dp, rows, h);
      gemm(dq, cp, rowMajor(dp, tp), k, cp, rows, cp, h.tokens, false);
      gemm(dq, cp, rowMajor(dtp, tp), tk, cp, rows, cp, h.tokens, true);
      gemm(dk, cp, transposed(dp, tp), qBlock, cp, h.tokens, cp, rows, i > range.first);
      gemm(dk, cp, transposed(dtp, tp), tqBlock, cp, h.tokens, cp, rows, true);
      gemm(dv, cp, transposed(p, tp), bBlock, cp, h.tokens, cp, rows, i > range.first);
      gemm(dv, cp, transposed(ts, tp), aBlock, cp, h.tokens, cp, rows, true);
      unpackRows(dqkv + i * h.qkvStride, h.qkvStride, dq, rows, h);
    }
  }
}

// f(head, rows) for the queries of every head: all of them, or a range
template <class F>
void forEachRange(const AttentionShape& s, const F& f) {
  const int heads = s.batch * s.heads, pieces = heads < kFewHeads ? Head(s, 0).ranges() : 1;
  parallelFor(heads * pieces, [&](int piece) {
    const Head h(s, piece / pieces);
    f(h, pieces == 1 ? Rows{0, h.tokens} : h.range(piece % pieces));
  });
}

// dk and dv of every head by f(head, sums, ranges), which makes sums over the queries of each of the ranges: [range][dk, dv][tokens]
// [channels, padded]. They are added in order.
template <class F>
void sumOverRanges(float* dqkv, const AttentionShape& s, const F& f) {
  const auto add = [&](const Head& h, float* sums) {
    for (size_t i = 0; h.ranges() > 1 && i < h.sumsSize(); i += kLanes)
      store(sums + i, load(sums + i) + load(sums + h.sumsSize() + i));
    unpackRows(dqkv + h.qkvOrigin + h.part, h.qkvStride, sums, h.tokens, h);
    unpackRows(dqkv + h.qkvOrigin + 2 * h.part, h.qkvStride, sums + h.rowsSize(), h.tokens, h);
  };
  const Head any(s, 0);
  const int heads = s.batch * s.heads, ranges = any.ranges();
  const size_t each = ranges * any.sumsSize();
  if (heads >= kFewHeads || ranges == 1)
    return parallelFor(heads, [&](int piece) {
      const Head h(s, piece);
      float* sums = scratch(1, each);
      f(h, sums, Rows{0, ranges});
      add(h, sums);
    });
  float* sums = scratch(3, heads * each);
  parallelFor(heads * ranges, [&](int piece) {
    const int head = piece / ranges, range = piece % ranges;
    f(Head(s, head), sums + head * each, Rows{range, range + 1});
  });
  for (int head = 0; head < heads; ++head) add(Head(s, head), sums + head * each);
}

}  // namespace

void CpuKernels::run(const op::Attention& o) {
  forEachRange(o.s,
               [&](const Head& h, const Rows& range) { forwardRange(o.o + h.oOrigin, o.qkv + h.qkvOrigin, h, range); });
}

void CpuKernels::run(const op::AttentionAdjoint& o) {
  sumOverRanges(o.dqkv, o.s, [&](const Head& h, float* sums, const Rows& ranges) {
    adjointRanges(o.dqkv + h.qkvOrigin, sums, o.ao + h.oOrigin, o.qkv + h.qkvOrigin, h, ranges);
  });
}

void CpuKernels::run(const op::AttentionTangent& o) {
  forEachRange(o.s, [&](const Head& h, const Rows& range) {
    tangentRange(o.to + h.oOrigin, o.tqkv + h.qkvOrigin, o.qkv + h.qkvOrigin, h, range);
  });
}

void CpuKernels::run(const op::AttentionSecond& o) {
  sumOverRanges(o.dqkv, o.s, [&](const Head& h, float* sums, const Rows& ranges) {
    secondRanges(o.dqkv + h.qkvOrigin, sums, o.bo + h.oOrigin, o.ao + h.oOrigin, o.tqkv + h.qkvOrigin,
                 o.qkv + h.qkvOrigin, h, ranges);
  });
}

}  // namespace FEYNKAC_ISA
}  // namespace feynkac
