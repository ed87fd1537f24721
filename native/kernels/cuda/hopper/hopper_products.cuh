// What the convolutions on Hopper share: products over a slice of K, two for every 64 columns, A from registers and B from
// shared memory; and the TF32 parts of factors.
#pragma once

#include "gpu_hopper.cuh"
#include "kernels/cuda/network/products.cuh"

namespace feynkac {
namespace FEYNKAC_PATH {
namespace {

template <Precision P>
struct HopperSlice {
  static constexpr int kBlocks =
      P == Precision::kFp32 ? 1 : 2;  // of 128 columns on a multiprocessor, by their registers
  static constexpr bool kPairs = P == Precision::kBf16;
  static constexpr int kDepth = kPairs ? 32 : 16;               // of K
  static constexpr int kParts = P == Precision::kFp32 ? 2 : 1;  // of a factor: as TF32, and what that leaves
  // B: [columns / 8][parts][chunks][8 columns][16 bytes]; a product takes two chunks.
  static constexpr int kChunks = 4;
  static constexpr uint32_t kBlock = 8 * 16, kPart = kChunks * kBlock;

  // A, for each product.
  struct Fragments {
    uint32_t a[kParts][2][4];

    GPU_FN void set(int product, int i, float value) {
      if constexpr (P == Precision::kFp32)
        split(__float_as_uint(value), a[0][product][i], a[1][product][i]);
      else
        a[0][product][i] = gpu::toTf32(value);
    }
    GPU_FN void setPair(int product, int i, float first, float second) {
      a[0][product][i] = gpu::toBf16Pair(first, second);
    }
    GPU_FN void pin() {
#pragma unroll
      for (int part = 0; part < kParts; ++part)
#pragma unroll
        for (int k = 0; k < 2; ++k) gpu::pin(a[part][k]);
    }
  };

  // Sums of 64 columns each. kFp32: a b = lo hi + hi lo + hi hi; the tensor cores make the sum of a slice, which is added to the
  // others by an ordinary sum (see multiplyFloats).
  template <int kWide>
  struct Sums {
    static constexpr bool kExact = P == Precision::kFp32;
    float v[kWide][8][4], whole[1 + kExact * (kWide - 1)][8][4];

    // Begins += A B; B at `columns`, `octet` bytes for 8 of them.
    GPU_FN void add(const Fragments& f, const void* columns, uint32_t octet) {
      const uint64_t all = gpu::matrixAt(columns, kBlock, octet);
#pragma unroll
      for (int k = 0; k < 2; ++k)
#pragma unroll
        for (int j = 0; j < kWide; ++j) {
          const uint64_t b = gpu::further(all, j * 8 * octet + k * 2 * kBlock);
          if constexpr (kPairs) {
            gpu::productBf16(v[j], f.a[0][k], b);
          } else {
            if constexpr (kExact) {
              gpu::productTf32(v[j], f.a[1][k], b, k > 0);
              gpu::productTf32(v[j], f.a[0][k], gpu::further(b, kPart));
            }
            gpu::productTf32(v[j], f.a[0][k], b);
          }
        }
    }
    GPU_FN void pin() {
#pragma unroll
      for (int j = 0; j < kWide; ++j) gpu::pin(v[j]);
    }
    // After waiting for the products of a slice.
    GPU_FN void keep() {
      pin();
      if constexpr (kExact) {
#pragma unroll
        for (int j = 0; j < kWide; ++j)
#pragma unroll
          for (int i = 0; i < 8; ++i)
#pragma unroll
            for (int e = 0; e < 4; ++e) whole[j][i][e] += v[j][i][e];
      }
    }
    GPU_FN const float (&of(int j) const)[8][4] {
      if constexpr (kExact)
        return whole[j];
      else
        return v[j];
    }
  };
};

}  // namespace
}  // namespace FEYNKAC_PATH
}  // namespace feynkac
