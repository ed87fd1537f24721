// Warp collectives. Fragment layouts are those of the PTX manual, "Matrix fragments for mma".
#include "emulator.h"

namespace emulator {

template <Shuffle M>
static void exchangeAll(unsigned live, void** a) {
  uint64_t in[32];
  for (int l = 0; l < 32; l++)
    in[l] = live >> l & 1 ? static_cast<Exchange*>(a[l])->in : ~0ull;  // absent lane: NaN bits
  for (int l = 0; l < 32; l++)
    if (live >> l & 1) {
      Exchange& s = *static_cast<Exchange*>(a[l]);
      int base = l & ~(s.width - 1), i = l - base, src = i;
      if (M == kIndex) src = s.select & (s.width - 1);
      if (M == kUp && i >= s.select) src = i - s.select;
      if (M == kXor && (i ^ s.select) < s.width) src = i ^ s.select;
      s.out = in[base + src];
    }
}
void shuffle(Shuffle m, unsigned mask, Exchange& s, int line) {
  if (s.width < 1 || s.width > 32 || (s.width & (s.width - 1))) fail("shuffle width must be a power of two up to 32");
  switch (m) {
    case kIndex:
      collective("__shfl_sync", line, mask, &s, exchangeAll<kIndex>);
      break;
    case kUp:
      collective("__shfl_up_sync", line, mask, &s, exchangeAll<kUp>);
      break;
    case kXor:
      collective("__shfl_xor_sync", line, mask, &s, exchangeAll<kXor>);
      break;
  }
}

namespace {
struct Vote {
  bool in;
  unsigned out;
};
}  // namespace

unsigned ballot(unsigned mask, bool vote, int line) {
  Vote v{vote, 0};
  collective("__ballot_sync", line, mask, &v, [](unsigned live, void** lanes) {
    unsigned votes = 0;
    for (int l = 0; l < 32; l++)
      if (live >> l & 1 && static_cast<Vote*>(lanes[l])->in) votes |= 1u << l;
    for (int l = 0; l < 32; l++)
      if (live >> l & 1) static_cast<Vote*>(lanes[l])->out = votes;
  });
  return v.out;
}

namespace {

struct Mma {
  const uint32_t *a, *b;
  const float* c;
  float* d;
};
void needFullWarp(unsigned live, const char* what) {
  if (live != 0xffffffffu) fail(std::string(what) + " needs all 32 lanes");
}

// D = A B + C of the whole warp; readA(A, registers, g, t) and readB put the registers of lane 4 g + t into the matrices.
template <class ReadA, class ReadB>
void multiply(void** lanes, int depth, ReadA readA, ReadB readB) {
  float A[16][16], B[16][8], C[16][8];
  double sums[16][8];
  for (int l = 0; l < 32; l++) {
    const Mma& m = *static_cast<Mma*>(lanes[l]);
    const int g = l >> 2, t = l & 3;
    readA(A, m.a, g, t);
    readB(B, m.b, g, t);
    for (int i = 0; i < 4; i++) C[g + (i >> 1) * 8][2 * t + (i & 1)] = m.c[i];
  }
  for (int i = 0; i < 16; i++) {
    for (int j = 0; j < 8; j++) sums[i][j] = C[i][j];
    for (int k = 0; k < depth; k++)
      for (int j = 0; j < 8; j++) sums[i][j] += double(A[i][k]) * B[k][j];
    for (int j = 0; j < 8; j++) C[i][j] = truncated(sums[i][j]);
  }
  for (int l = 0; l < 32; l++)
    for (int i = 0; i < 4; i++) static_cast<Mma*>(lanes[l])->d[i] = C[(l >> 2) + (i >> 1) * 8][2 * (l & 3) + (i & 1)];
}
float low(uint32_t pair) { return __uint_as_float(pair << 16); }
float high(uint32_t pair) { return __uint_as_float(pair & 0xffff0000u); }
float tf32(uint32_t r) { return __uint_as_float(r & ~0x1fffu); }  // the hardware reads the top 19 bits only

}  // namespace

void mmaBf16(float* d, const uint32_t* a, const uint32_t* b, const float* c) {
  Mma m{a, b, c, d};
  collective("mma.m16n8k16.bf16", 0, 0xffffffffu, &m, [](unsigned live, void** lanes) {
    needFullWarp(live, "mma");
    multiply(
        lanes, 16,
        [](float(&A)[16][16], const uint32_t* r, int g, int t) {
          for (int i = 0; i < 4; i++) {
            const int row = g + (i & 1) * 8, column = 2 * t + (i >> 1) * 8;
            A[row][column] = low(r[i]);
            A[row][column + 1] = high(r[i]);
          }
        },
        [](float(&B)[16][8], const uint32_t* r, int g, int t) {
          for (int i = 0; i < 2; i++) {
            B[2 * t + i * 8][g] = low(r[i]);
            B[2 * t + 1 + i * 8][g] = high(r[i]);
          }
        });
  });
}
void mmaTf32(float* d, const uint32_t* a, const uint32_t* b, const float* c) {
  Mma m{a, b, c, d};
  collective("mma.m16n8k8.tf32", 0, 0xffffffffu, &m, [](unsigned live, void** lanes) {
    needFullWarp(live, "mma");
    multiply(
        lanes, 8,
        [](float(&A)[16][16], const uint32_t* r, int g, int t) {
          for (int i = 0; i < 4; i++) A[g + (i & 1) * 8][t + (i >> 1) * 4] = tf32(r[i]);
        },
        [](float(&B)[16][8], const uint32_t* r, int g, int t) {
          for (int i = 0; i < 2; i++) B[t + i * 4][g] = tf32(r[i]);
        });
  });
}

namespace {
struct MatrixLoad {
  uint32_t* r;
  const uint16_t* row;
  int n;
  bool transposed;
};
}  // namespace

void loadMatrix(uint32_t* r, const uint16_t (&row)[8], int n, bool transposed) {
  MatrixLoad m{r, row, n, transposed};
  collective("ldmatrix", 0, 0xffffffffu, &m, [](unsigned live, void** lanes) {
    needFullWarp(live, "ldmatrix");
    for (int l = 0; l < 32; l++) {
      const MatrixLoad& o = *static_cast<MatrixLoad*>(lanes[l]);
      for (int i = 0; i < o.n; i++) {
        const auto at = [&](int y, int x) { return uint32_t(static_cast<MatrixLoad*>(lanes[i * 8 + y])->row[x]); };
        const int g = l >> 2, t = 2 * (l & 3);
        o.r[i] = o.transposed ? at(t, g) | at(t + 1, g) << 16 : at(g, t) | at(g, t + 1) << 16;
      }
    }
  });
}

}  // namespace emulator
