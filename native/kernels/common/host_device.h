// FEYNKAC_HD: functions that both the host's code and CUDA's kernels have.
#pragma once

#if defined(__CUDACC__)
#define FEYNKAC_HD __host__ __device__ inline
#else
#define FEYNKAC_HD inline
#endif
