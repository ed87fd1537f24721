// Dropout: a value is kept or not by its own random word, so that the adjoint, a split batch and other backends see the same mask.
#include "kernels/cpu/cpu_kernels.h"
#include "kernels/cpu/normals.h"

namespace feynkac {
namespace FEYNKAC_ISA {

namespace {

constexpr size_t kPiece = 16384;  // values of a row in one unit of parallel work; a multiple of 4 kLanes

// kept[0 .. 4 kLanes) = -1 where values 4 block .. are kept, else 0
FEYNKAC_INLINE void keptAt(int32_t* kept, float rate, uint64_t seed, uint32_t purpose, uint32_t step, uint32_t particle,
                           uint32_t block) {
  vu words[4];
  wordsAt(words, seed, purpose, step, particle, block);
  vi each[4];
  for (int j = 0; j < 4; ++j)
    each[j] =
        __builtin_convertvector(reinterpret_cast<const vi&>(words[j]) >> 8 & 0xffffff, vf) * (1.0f / 16777216.0f) >=
        splat(rate);
  for (int l = 0; l < kLanes; ++l)
    for (int j = 0; j < 4; ++j) kept[4 * l + j] = each[j][l];
}

FEYNKAC_INLINE vf scaledWhere(const int32_t* kept, vf x, float scale) {
  vi mask, bits;
  memcpy(&mask, kept, sizeof mask);
  x = x * scale;
  memcpy(&bits, &x, sizeof bits);
  return asFloats(bits & mask);
}

}  // namespace

void CpuKernels::run(const op::Dropout& o) {
  const uint64_t seed = uint64_t{o.key[1]} << 32 | o.key[0];
  const float scale = static_cast<float>(1 / (1 - double(o.rate)));
  const int across = static_cast<int>((o.n + kPiece - 1) / kPiece);
  parallelFor(o.rows * across, [&](int piece) {
    const auto row = static_cast<uint32_t>(piece / across);
    const size_t first = size_t(piece % across) * kPiece, end = first + kPiece < o.n ? first + kPiece : o.n;
    for (size_t from = first; from < end; from += 4 * kLanes) {
      int32_t kept[4 * kLanes];
      keptAt(kept, o.rate, seed, kDropout + (o.layer << 8), o.key[2], o.key[3] + row, static_cast<uint32_t>(from / 4));
      for (size_t i = from; i < end && i < from + 4 * kLanes; i += kLanes) {
        const size_t at = row * o.n + i;
        if (end - i >= kLanes) {
          const vf v = scaledWhere(kept + (i - from), load(o.x + at), scale);
          store(o.y + at, o.accumulate ? load(o.y + at) + v : v);
        } else {
          const int left = static_cast<int>(end - i);
          const vf v = scaledWhere(kept + (i - from), loadTail(o.x + at, left), scale);
          storeTail(o.y + at, o.accumulate ? loadTail(o.y + at, left) + v : v, left);
        }
      }
    }
  });
}

}  // namespace FEYNKAC_ISA
}  // namespace feynkac
