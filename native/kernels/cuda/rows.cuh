// Rows of floats, four at a time: aligned rows by 16-byte accesses, others value by value.
#pragma once

#include "reduce.cuh"

namespace feynkac {
namespace {

// Values 4 q .. 4 q + 3 of a row with d of them; zero behind the end.
GPU_FN float4 loadQuad(const float* row, size_t q, size_t d, bool aligned) {
  if (aligned) return reinterpret_cast<const float4*>(row)[q];
  const size_t i = 4 * q;
  return make_float4(row[i], i + 1 < d ? row[i + 1] : 0.0f, i + 2 < d ? row[i + 2] : 0.0f,
                     i + 3 < d ? row[i + 3] : 0.0f);
}
GPU_FN void storeQuad(float* row, size_t q, size_t d, bool aligned, float4 v) {
  if (aligned) {
    reinterpret_cast<float4*>(row)[q] = v;
    return;
  }
  const size_t i = 4 * q;
  row[i] = v.x;
  if (i + 1 < d) row[i + 1] = v.y;
  if (i + 2 < d) row[i + 2] = v.z;
  if (i + 3 < d) row[i + 3] = v.w;
}
GPU_FN float squaresOf(float4 v) { return v.x * v.x + v.y * v.y + v.z * v.z + v.w * v.w; }
GPU_FN void add(float4& y, float c, float4 v) {
  y.x += c * v.x;
  y.y += c * v.y;
  y.z += c * v.z;
  y.w += c * v.w;
}

// This thread's place in a RowGroup.
template <bool kWide, int kBlock>
GPU_FN size_t groupRow(unsigned width) {
  return kWide ? blockIdx.x : (size_t(blockIdx.x) * kBlock + threadIdx.x) / width;
}
template <bool kWide>
GPU_FN unsigned groupLane(unsigned width) {
  return kWide ? threadIdx.x : threadIdx.x & (width - 1);
}
// The sum over a RowGroup; every thread of the block takes part.
template <bool kWide, int kBlock>
GPU_FN double groupSum(double v, unsigned width) {
  if constexpr (kWide) {
    return FEYNKAC_PATH::blockSum<kBlock>(v);
  } else {
    for (unsigned offset = width / 2; offset > 0; offset /= 2) v += __shfl_xor_sync(gpu::kFull, v, int(offset));
    return v;
  }
}

}  // namespace
}  // namespace feynkac
