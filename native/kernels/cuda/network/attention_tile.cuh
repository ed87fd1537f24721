// What the kernels of attention share: tiles of score matrices, computed anew wherever they are needed, so that none is ever in
// memory as a whole. With s = 1 / sqrt(channels), all [tokens, tokens] per image and head:
//   S = s q k^T,  T = s (q' k^T + q k'^T),  A = ao v^T,  B = bo v^T + ao v'^T,  P = softmax(S) by rows
//   row means  m = sum_j P T,  a = sum_j P A,  g = sum_j P (B + A T) - 2 a m
//   forward    o = P v
//   tangent    P' = P (T - m);  o' = P' v + P v'
//   adjoint    R = P (A - a), the adjoint of S;  dq = s R k, dk = s R^T q, dv = P^T ao
//   second     R is now the adjoint of T, and that of S is Z = P (B + A (T - m) - a T - g):
//              dq = s (Z k + R k'), dk = s (Z^T q + R^T q'), dv = P^T bo + P'^T ao
#pragma once

#include "products.cuh"

namespace feynkac {
namespace FEYNKAC_PATH {
namespace {

enum class Pass { kForward, kTangent, kAdjoint, kSecond };

// An array of one head: row t of it starts at data + t stride.
struct Operand {
  const float* data;
  int stride;
};

// The arrays of a pass, of the first head of the first image; what the pass lacks is null.
struct AttentionArrays {
  Operand q, k, v, tq, tk, tv, ao, bo;
};

struct AttentionSizes {
  int tokens, heads, channels;
  float scale;
  bool vectors;  // channels are a multiple of 4 and all arrays aligned
};

// Row means of every image, head and token, an array each: log sum exp of S, m, a, g.
struct RowStats {
  float* values;
  size_t each;
  GPU_FN float* of(int which) const { return values + which * each; }
};

constexpr int kTile = 64, kChunk = 32, kThreads = 256;
constexpr int kPitchIn = kChunk + 4;    // [token][channel]: 8 rows of 16 bytes meet different banks
constexpr int kPitchScore = kTile + 4;  // [row][column], alike
constexpr int kPitchOut = kTile + 8;    // [token][channel], read down: 4 rows and 8 channels meet different banks

// The halves of a double buffer for rows and columns; a chunk of channels of the outputs' factor fits into either half.
struct AttentionShared {
  float rows[2][kTile][kPitchIn], columns[2][kTile][kPitchIn];
};
static_assert(sizeof(float) * kTile * kPitchOut <= sizeof(AttentionShared) / 2, "an output factor fits");

// A warp's part of a tile: 16 rows, 32 columns.
struct Warp {
  int lane, row, column;
  GPU_FN Warp() : lane(threadIdx.x & 31), row((threadIdx.x >> 5) % 4 * 16), column((threadIdx.x >> 5) / 4 * 32) {}
  GPU_FN int rowOf(int element) const { return row + (lane >> 2) + (element >> 1) * 8; }
  GPU_FN int columnOf(int j, int element) const { return column + j * 8 + (lane & 3) * 2 + (element & 1); }
};
using Fragment = float[1][4][4];

// One head of one image. The arrays stay where the launch put them: pointers moved to the head would cost 24 registers.
struct Head {
  const AttentionArrays& arrays;
  const AttentionSizes& s;
  size_t firstToken;
  int firstChannel;
  GPU_FN Head(const AttentionArrays& all, const AttentionSizes& sizes, int image, int head)
      : arrays(all),
        s(sizes),
        firstToken(static_cast<size_t>(image) * sizes.tokens),
        firstChannel(head * sizes.channels) {}

  // kWidth channels from `channel` of the tokens from `first` into shared rows; zeros where there are none.
  template <int kWidth, int kPitch>
  GPU_FN void load(float* to, const Operand& from, int first, int channel) const {
    constexpr int kWide = kWidth / 4;
#pragma unroll 1  // addresses worked out ahead would take the registers of the sums
    for (int i = threadIdx.x; i < kTile * kWide; i += kThreads) {
      const int t = first + i / kWide, c = channel + i % kWide * 4;
      const float* source = from.data + (firstToken + t) * from.stride + firstChannel + c;
      copyFour(to + i / kWide * kPitch + i % kWide * 4, source, t < s.tokens ? s.channels - c : 0, s.vectors,
               from.data);
    }
  }
};

// acc += rows columns^T over all channels
template <Precision P>
GPU_FN void addProduct(Fragment& acc, AttentionShared& shared, const Head& head, const Operand& rows, int firstRow,
                       const Operand& columns, int firstColumn) {
  const Warp w;
  const int chunks = (head.s.channels + kChunk - 1) / kChunk;
  const auto load = [&](int chunk) {
    if (chunk < chunks) {
      head.load<kChunk, kPitchIn>(shared.rows[chunk & 1][0], rows, firstRow, chunk * kChunk);
      head.load<kChunk, kPitchIn>(shared.columns[chunk & 1][0], columns, firstColumn, chunk * kChunk);
    }
    gpu::commitCopies();
  };
  load(0);
#pragma unroll 1
  for (int chunk = 0; chunk < chunks; ++chunk) {
    load(chunk + 1);
    gpu::waitCopies<1>();
    __syncthreads();
    const auto &x = shared.rows[chunk & 1], &y = shared.columns[chunk & 1];
#pragma unroll
    for (int k = 0; k < kChunk; k += 8) {
      uint32_t a[1][4], b[4][2];
      gpu::loadMatrices(a[0], &x[w.row + (w.lane & 15)][k + (w.lane >> 4) * 4]);
#pragma unroll
      for (int j = 0; j < 4; j += 2) {
        uint32_t r[4];
        gpu::loadMatrices(r, &y[w.column + j * 8 + (w.lane & 7) + (w.lane >> 4) * 8][k + ((w.lane >> 3) & 1) * 4]);
        b[j][0] = r[0];
        b[j][1] = r[1];
        b[j + 1][0] = r[2];
        b[j + 1][1] = r[3];
      }
      multiplyFloats<P>(acc, a, b);
    }
    __syncthreads();  // before the buffer is loaded again
  }
}

// Score tiles; kKeyRows: rows are keys and columns queries, so all of them are transposed.
template <Precision P, bool kKeyRows>
struct Scores {
  AttentionShared& shared;
  const Head& head;
  int firstRow, firstColumn;

  GPU_FN void add(Fragment& acc, const Operand& query, const Operand& key) const {
    addProduct<P>(acc, shared, head, kKeyRows ? key : query, firstRow, kKeyRows ? query : key, firstColumn);
  }
  GPU_FN void scale(Fragment& acc) const {
#pragma unroll
    for (int j = 0; j < 4; ++j)
#pragma unroll
      for (int e = 0; e < 4; ++e) acc[0][j][e] *= head.s.scale;
  }
  GPU_FN void S(Fragment& acc) const {
    add(acc, head.arrays.q, head.arrays.k);
    scale(acc);
  }
  GPU_FN void T(Fragment& acc) const {
    add(acc, head.arrays.tq, head.arrays.k);
    add(acc, head.arrays.q, head.arrays.tk);
    scale(acc);
  }
  GPU_FN void A(Fragment& acc) const { add(acc, head.arrays.ao, head.arrays.v); }
  GPU_FN void B(Fragment& acc) const {
    add(acc, head.arrays.bo, head.arrays.v);
    add(acc, head.arrays.ao, head.arrays.tv);
  }
};

// The tiles that a kernel needs, S and those asked for.
struct ScoreTiles {
  Fragment S = {}, T = {}, A = {}, B = {};
  template <bool kT, bool kA, bool kB, class From>
  GPU_FN void make(const From& scores) {
    scores.S(S);
    if constexpr (kT) scores.T(T);
    if constexpr (kA) scores.A(A);
    if constexpr (kB) scores.B(B);
  }
};

}  // namespace
}  // namespace FEYNKAC_PATH
}  // namespace feynkac
