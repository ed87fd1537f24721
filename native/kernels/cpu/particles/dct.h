// The cosine transform of one plane as two dense products: out = A_H x A_W^T, inverse A_H^T x A_W (A: kernels/common/cosine_basis.h).
#pragma once

#include <stdlib.h>

#include <new>

#include "kernels/common/cosine_basis.h"
#include "kernels/cpu/runtime/threads.h"
#include "kernels/cpu/small_gemm.h"

namespace feynkac {
namespace FEYNKAC_ISA {

class CosineProducts {
 public:
  CosineProducts(size_t height, size_t width, bool inverse)
      : h_(height), w_(width), padded_((width + kLanes - 1) / kLanes * kLanes), inverse_(inverse) {
    memory_ = static_cast<float*>(malloc((h_ * h_ + w_ * w_ + w_ * padded_) * sizeof(float)));
    if (memory_ == nullptr) throw std::bad_alloc();
    float *across = memory_ + h_ * h_, *right = across + w_ * w_;
    cosineBasis(memory_, h_);
    cosineBasis(across, w_);
    memset(right, 0, w_ * padded_ * sizeof(float));
    for (size_t k = 0; k < w_; ++k)
      for (size_t j = 0; j < w_; ++j) right[k * padded_ + j] = inverse ? across[k * w_ + j] : across[j * w_ + k];
  }
  ~CosineProducts() { free(memory_); }
  CosineProducts(const CosineProducts&) = delete;
  CosineProducts& operator=(const CosineProducts&) = delete;

  void transform(float* out, const float* x) const {
    const int h = static_cast<int>(h_), w = static_cast<int>(w_), n = static_cast<int>(padded_);
    float *plane = scratch(0, 2 * h_ * padded_), *half = plane + h_ * padded_;
    memset(plane, 0, h_ * padded_ * sizeof(float));
    for (size_t i = 0; i < h_; ++i) memcpy(plane + i * padded_, x + i * w_, w_ * sizeof(float));
    gemm(half, padded_, inverse_ ? GemmA{memory_, 1, h_} : GemmA{memory_, h_, 1}, plane, padded_, h, n, h, false);
    gemm(plane, padded_, GemmA{half, padded_, 1}, memory_ + h_ * h_ + w_ * w_, padded_, h, n, w, false);
    for (size_t i = 0; i < h_; ++i) memcpy(out + i * w_, plane + i * padded_, w_ * sizeof(float));
  }

 private:
  size_t h_, w_, padded_;  // a row of a plane in whole vectors
  bool inverse_;
  float* memory_;  // A_H, A_W, and the right factor in rows of whole vectors
};

}  // namespace FEYNKAC_ISA
}  // namespace feynkac
