// Particles on the CPU: rows in groups, each row in pieces of kPiece values whose float32 sums are added up in float64.
#include <stdlib.h>

#include <new>

#include "dct.h"
#include "kernels/cpu/cpu_kernels.h"
#include "kernels/cpu/normals.h"
#include "kernels/cpu/runtime/host_particles.h"

namespace feynkac {
namespace FEYNKAC_ISA {
namespace {

constexpr size_t kPiece = 128;    // values whose sums stay in float32 lanes; a multiple of 4 kLanes
constexpr size_t kGroup = 16384;  // values of one unit of parallel work
constexpr double kLogTwoPi = 1.8378770664093454836;

// f(first, last) over groups of rows; the split depends on the sizes alone.
template <class F>
void forRows(size_t rows, size_t d, const F& f) {
  const size_t each = d >= kGroup ? 1 : kGroup / (d == 0 ? 1 : d);
  const int groups = static_cast<int>((rows + each - 1) / each);
  parallelFor(groups, [&](int g) {
    const size_t first = static_cast<size_t>(g) * each;
    f(first, first + each < rows ? first + each : rows);
  });
}

// The next lanes of a row of which `left` values are left.
FEYNKAC_INLINE vf loadUpTo(const float* p, size_t left) {
  return left >= kLanes ? load(p) : loadTail(p, static_cast<int>(left));
}
FEYNKAC_INLINE void storeUpTo(float* p, vf v, size_t left) {
  if (left >= kLanes)
    store(p, v);
  else
    storeTail(p, v, static_cast<int>(left));
}

// out[r] = the sum over the columns of terms(row, column, left), which gives the lanes from `column` on, of which `left`
// (of kPiece at most) count: in float32 over a piece, in float64 over the pieces.
template <class F>
void sumRows(double* out, size_t rows, size_t d, const F& terms) {
  forRows(rows, d, [&](size_t first, size_t last) {
    for (size_t r = first; r < last; ++r) {
      double total = 0;
      for (size_t from = 0; from < d; from += kPiece) {
        const size_t n = d - from < kPiece ? d - from : kPiece;
        vf s = {};
        for (size_t i = 0; i < n; i += kLanes) s += terms(r, from + i, n - i);
        total += sum(s);
      }
      out[r] = total;
    }
  });
}

void fillNormals(float* z, const NormalKey& key, size_t row, size_t from,
                 size_t n) {  // z has kPiece values; from % 4 == 0
  for (size_t i = 0; i < n; i += 4 * kLanes)
    normalsAt(z + i, key.seed, key.purpose, key.step, key.first + static_cast<uint32_t>(row),
              static_cast<uint32_t>((from + i) / 4));
}

// The proposal's constants per coordinate, in float32 and zero behind the end.
struct Coefficients {
  float *drift, *spread, *perTau, *perV;
  double logForward, logBackward;  // the densities' normalisers

  Coefficients(float* memory, const Proposal& p, size_t d, size_t padded)
      : drift(memory), spread(memory + padded), perTau(memory + 2 * padded), perV(memory + 3 * padded) {
    double logTau = 0, logV = 0;
    memset(memory, 0, 4 * padded * sizeof(float));
    for (size_t i = 0; i < d; ++i) {
      const double v = p.v[i * p.vStride], tau = p.tau[i * p.tauStride];
      drift[i] = static_cast<float>(v);
      spread[i] = static_cast<float>(::sqrt(tau));
      perTau[i] = static_cast<float>(1 / tau);
      perV[i] = static_cast<float>(1 / v);
      if (p.tauStride != 0 || i == 0) logTau += ::log(tau) * (p.tauStride != 0 ? 1 : static_cast<double>(d));
      if (p.vStride != 0 || i == 0) logV += ::log(v) * (p.vStride != 0 ? 1 : static_cast<double>(d));
    }
    logForward = -0.5 * (logTau + static_cast<double>(d) * kLogTwoPi);
    logBackward = -0.5 * (logV + static_cast<double>(d) * kLogTwoPi);
  }
};

class CpuParticleKernels final : public HostParticleKernels {
 public:
  void propose(float* out, double* logForward, double* logBackward, double* alignment, double* gradSquares,
               const float* x, const float* g, const Proposal& p, const NormalKey& key, size_t rows,
               size_t d) override {
    const size_t padded = (d + kLanes - 1) / kLanes * kLanes;
    float* memory = static_cast<float*>(malloc(4 * padded * sizeof(float)));
    if (memory == nullptr) throw std::bad_alloc();
    const Coefficients c(memory, p, d, padded);
    forRows(rows, d, [&](size_t first, size_t last) {
      alignas(64) float z[kPiece];
      for (size_t r = first; r < last; ++r) {
        double forward = 0, backward = 0, align = 0, squares = 0;
        for (size_t from = 0; from < d; from += kPiece) {
          const size_t n = d - from < kPiece ? d - from : kPiece;
          fillNormals(z, key, r, from, n);
          vf f = {}, b = {}, a = {}, s = {};
          for (size_t i = 0; i < n; i += kLanes) {
            const size_t left = n - i, at = r * d + from + i, column = from + i;
            const vf xi = loadUpTo(x + at, left), gi = loadUpTo(g + at, left);
            const vf mean = xi - load(c.drift + column) * gi;
            const vf next = mean + load(c.spread + column) * load(z + i);
            const vf step = next - mean, back = xi - next;  // from the stored value: rounding is part of the move
            storeUpTo(out + at, next, left);
            f += step * step * load(c.perTau + column);
            b += back * back * load(c.perV + column);
            a += gi * back;
            s += gi * gi;
          }
          forward += sum(f);
          backward += sum(b);
          align += sum(a);
          squares += sum(s);
        }
        logForward[r] = c.logForward - 0.5 * forward;
        logBackward[r] = c.logBackward - 0.5 * backward;
        alignment[r] = align;
        gradSquares[r] = squares;
      }
    });
    free(memory);
  }

  void combine(float* out, const LinearTerms& linear, double noise, const NormalKey& key, size_t rows,
               size_t d) override {
    const float spread = static_cast<float>(noise);
    forRows(rows, d, [&](size_t first, size_t last) {
      alignas(64) float z[kPiece];
      for (size_t r = first; r < last; ++r)
        for (size_t from = 0; from < d; from += kPiece) {
          const size_t n = d - from < kPiece ? d - from : kPiece;
          if (spread != 0) fillNormals(z, key, r, from, n);
          for (size_t i = 0; i < n; i += kLanes) {
            vf y = linearAt(linear, r, rows, r * d + from + i, n - i);
            if (spread != 0) y += spread * load(z + i);
            storeUpTo(out + r * d + from + i, y, n - i);
          }
        }
    });
  }

  void dct(float* out, const float* x, const Planes& shape, bool inverse, size_t rows) override {
    const CosineProducts products(shape.height, shape.width, inverse);
    const size_t values = shape.height * shape.width;
    forRows(rows * shape.channels, values, [&](size_t first, size_t last) {
      for (size_t p = first; p < last; ++p) products.transform(out + p * values, x + p * values);
    });
  }

  void rowSquares(double* out, const LinearTerms& linear, size_t rows, size_t d) override {
    sumRows(out, rows, d, [&](size_t r, size_t column, size_t left) {
      const vf y = linearAt(linear, r, rows, r * d + column, left);
      return y * y;
    });
  }

  void rowProducts(double* out, const float* a, const float* b, const double* v, int vStride, const float* c,
                   size_t rows, size_t d) override {
    const size_t padded = (d + kLanes - 1) / kLanes * kLanes;
    float* factor = static_cast<float*>(calloc(padded, sizeof(float)));
    if (factor == nullptr) throw std::bad_alloc();
    for (size_t i = 0; i < d; ++i) factor[i] = static_cast<float>(v[i * vStride]);
    sumRows(out, rows, d, [&](size_t r, size_t column, size_t left) {
      const size_t at = r * d + column;
      return (loadUpTo(a + at, left) + load(factor + column) * loadUpTo(b + at, left)) * loadUpTo(c + at, left);
    });
    free(factor);
  }

  void columnSquares(double* out, const float* g, const double* weights, size_t rows, size_t d, bool goesOn) override {
    constexpr size_t kColumns = 512;
    parallelFor(static_cast<int>((d + kColumns - 1) / kColumns), [&](int piece) {
      const size_t from = static_cast<size_t>(piece) * kColumns, n = d - from < kColumns ? d - from : kColumns;
      double total[kColumns] = {};
      for (size_t i = 0; goesOn && i < n; ++i) total[i] = out[from + i];
      for (size_t r = 0; r < rows; ++r) {
        const float* row = g + r * d + from;
        if (weights[r] > 0)
          for (size_t i = 0; i < n; ++i) total[i] += weights[r] * (static_cast<double>(row[i]) * row[i]);
      }
      for (size_t i = 0; i < n; ++i) out[from + i] = total[i];
    });
  }

  void gather(void* out, const void* in, const int32_t* ancestors, size_t rows, size_t bytes) override {
    forRows(rows, (bytes + 3) / 4, [&](size_t first, size_t last) {
      for (size_t r = first; r < last; ++r)
        memcpy(static_cast<char*>(out) + r * bytes,
               static_cast<const char*>(in) + static_cast<size_t>(ancestors[r]) * bytes, bytes);
    });
  }

 private:
  FEYNKAC_INLINE vf linearAt(const LinearTerms& linear, size_t r, size_t rows, size_t at, size_t left) {
    vf y = {};
    for (int j = 0; j < linear.count; ++j) {
      const double c = linear.perRow ? linear.coefficients[static_cast<size_t>(j) * rows + r] : linear.coefficients[j];
      if (c != 0)
        y += static_cast<float>(c) * loadUpTo(linear.terms[j] + at, left);  // 0 times an infinite gradient is 0 here
    }
    return y;
  }
};

}  // namespace

ParticleKernels* makeParticleKernels() { return new CpuParticleKernels(); }

}  // namespace FEYNKAC_ISA
}  // namespace feynkac
