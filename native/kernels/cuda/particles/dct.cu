// The cosine transform of images on CUDA: twice a product of rows with a matrix of cosines, stored transposed.
#include "cuda_particles.h"
#include "kernels/common/cosine_basis.h"

namespace feynkac {
namespace {

constexpr int kTile = 16;
constexpr size_t kScratch = size_t(1) << 24;  // values of the images between the two products

// out[p, j, i] = sum_k x[p, i, k] m[k * stride + j * step] for planes p of height x width values: the width is transformed and
// comes first. A block has a tile of kTile x kTile (i, j) of a plane.
__global__ void __launch_bounds__(kTile* kTile)
    transformRows(float* out, const float* x, const float* m, size_t planes, unsigned height, unsigned width,
                  size_t stride, size_t step) {
  SHARED(float, xs, [kTile][kTile + 1]);
  SHARED(float, ms, [kTile][kTile + 1]);
  const unsigned a = threadIdx.x, b = threadIdx.y;
  const unsigned down = (height + kTile - 1) / kTile, across = (width + kTile - 1) / kTile;
  const size_t tiles = planes * down * across;
  for (size_t tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
    const size_t p = tile / (size_t(down) * across);
    const unsigned i0 = unsigned(tile / across % down) * kTile, j0 = unsigned(tile % across) * kTile;
    float sum = 0;
    for (unsigned k0 = 0; k0 < width; k0 += kTile) {
      const bool inX = i0 + b < height && k0 + a < width, inM = k0 + b < width && j0 + a < width;
      xs[b][a] = inX ? x[(p * height + i0 + b) * width + k0 + a] : 0.0f;
      ms[b][a] = inM ? m[(k0 + b) * stride + (j0 + a) * step] : 0.0f;
      __syncthreads();
      for (int k = 0; k < kTile; ++k) sum += xs[a][k] * ms[k][b];
      __syncthreads();
    }
    if (i0 + a < height && j0 + b < width) out[(p * width + j0 + b) * height + i0 + a] = sum;
  }
}

}  // namespace

void CudaParticleKernels::dct(float* out, const float* x, const Planes& s, bool inverse, size_t rows) {
  const size_t values = s.height * s.width, planes = rows * s.channels;
  if (planes == 0) return;
  std::vector<float> down(s.height * s.height), across(s.width * s.width);
  cosineBasis(down.data(), s.height);
  cosineBasis(across.data(), s.width);
  const size_t each = values < kScratch ? kScratch / values : 1;  // planes at a time
  const size_t most = each < planes ? each : planes;
  const auto memory =
      carve(context_, {down.size() * sizeof(float), across.size() * sizeof(float), most * values * sizeof(float)});
  context_.upload(memory[0], down.data(), down.size() * sizeof(float));
  context_.upload(memory[1], across.data(), across.size() * sizeof(float));
  float* between = as<float>(memory[2]);
  const auto transform = [&](float* to, const float* from, char* basis, size_t n, size_t height, size_t width) {
    const size_t tiles = n * ((height + kTile - 1) / kTile) * ((width + kTile - 1) / kTile);
    LAUNCH((transformRows), blocksFor(tiles, 1), dim3(kTile, kTile), 0, context_.stream())
    (to, from, as<float>(basis), n, unsigned(height), unsigned(width), inverse ? width : 1, inverse ? 1 : width);
    launched("dct");
  };
  for (size_t first = 0; first < planes; first += most) {
    const size_t n = most < planes - first ? most : planes - first;
    transform(between, x + first * values, memory[1], n, s.height, s.width);
    transform(out + first * values, between, memory[0], n, s.width, s.height);
  }
}

}  // namespace feynkac
