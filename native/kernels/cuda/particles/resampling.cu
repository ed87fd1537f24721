// Resampling on CUDA, by inversion: the ancestor at a point is the first particle whose cumulative weight lies above it.
//
// Weights, and so their cumulative sums, are whole numbers: multiples of 2^-61 of the total. That makes the sums exact
// and the ancestors a function of weights and uniforms alone, and where the sum grows there is weight: an ancestor never has
// weight 0. A weight below 2^-61 of the total counts as 0. Ancestors differ from the host's (kernels/cpu/runtime/resampling.cpp) only
// where a point is within rounding of a boundary.
//
// Systematic and stratified points need no more than one pass over the weights (resampling_one_pass.cuh). For the other
// schemes each tile of weights is one block's: it finds which points fall into the tile (`begins`), makes the tile's prefix
// sums in shared memory, and writes the points' ancestors. Weights are read twice, ancestors written once.
#include <cmath>
#include <stdexcept>

#include "cuda_particles.h"
#include "kernels/common/resampling.h"
#include "resampling_one_pass.cuh"

namespace feynkac {
namespace {

// ---- what a value counts in a scan ----------------------------------------------------------------------------------

struct WeightUnits {
  Weights w;
  GPU_FN uint64_t operator()(size_t i) const { return units(w(i) * kUnit); }
};
constexpr double kLargestSpacing = 40;  // above -log of every uniform of random.h; a given one may be 0

// Exponential spacings -log u: their cumulative sum over its total is a sorted sample of uniforms.
struct Spacings {
  Numbers u;
  size_t from;
  double unit;
  GPU_FN uint64_t operator()(size_t i) const { return units(min(-log(u(from + i)), double(kLargestSpacing)) * unit); }
};
// Whole copies of the expected number of offspring, and what is left of it, where `left` is the sum of that.
struct Copies {
  Weights w;
  double n;
  GPU_FN uint64_t operator()(size_t i) const { return Expected(gpu::product(n, w(i))).copies; }
};
struct Fractions {
  Weights w;
  double n, left;
  GPU_FN uint64_t operator()(size_t i) const { return units(Expected(gpu::product(n, w(i))).fraction / left * kUnit); }
};
// 1 where a particle is not kept by the killing scheme.
struct Killed {
  Weights w;
  Numbers u;
  const double* most;
  GPU_FN uint64_t operator()(size_t i) const { return u(i) * *most >= w(i); }
};

// ---- where to look: point i in units of the amounts, not decreasing in i ----------------------------------------------

struct SortedPoints {
  const uint64_t* z;  // cumulative spacings, one more than there are points
  size_t n;
  const uint64_t* total;
  GPU_FN uint64_t operator()(size_t i) const {
    return units(static_cast<double>(z[i]) / static_cast<double>(z[n]) * static_cast<double>(*total));
  }
};
struct EveryPoint {
  GPU_FN uint64_t operator()(size_t i) const { return i; }
};

// ---- kernels --------------------------------------------------------------------------------------------------------

// sumTiles of weights that are yet to be checked, and their float64 sums, NaN where one is not a weight.
__global__ void __launch_bounds__(kScanBlock) sumWeights(uint64_t* tiles, double* sums, const double* w, size_t n) {
  const WeightUnits amount{{w, 0}};
  const size_t first = size_t(blockIdx.x) * kTile;
  uint64_t sum = 0;
  double total = 0;
#pragma unroll
  for (unsigned k = 0; k < kScanEach; ++k) {
    const size_t i = first + k * kScanBlock + threadIdx.x;
    if (i >= n) continue;
    total += w[i] >= 0 ? w[i] : NAN;
    sum += amount(i);
  }
  sum = blockSum<kScanBlock>(sum);
  total = blockSum<kScanBlock>(total);
  if (threadIdx.x == 0) {
    tiles[blockIdx.x] = sum;
    sums[blockIdx.x] = total;
  }
}

__global__ void __launch_bounds__(kTopBlock) totalOf(double* out, const double* sums, unsigned n) {
  double total = 0;
  for (unsigned i = threadIdx.x; i < n; i += kTopBlock) total += sums[i];
  total = blockSum<kTopBlock>(total);
  if (threadIdx.x == 0) out[0] = total;
}

// The largest weight, as bits: those of numbers from 0 on are ordered as the numbers are.
__global__ void __launch_bounds__(kScanBlock) largest(unsigned long long* bits, Weights w, size_t n) {
  double most = 0;
  for (size_t i = size_t(blockIdx.x) * kScanBlock + threadIdx.x; i < n; i += size_t(gridDim.x) * kScanBlock) {
    const double v = w(i);
    most = v > most ? v : most;
  }
#pragma unroll
  for (int offset = 16; offset > 0; offset >>= 1) {
    const double other = __shfl_xor_sync(gpu::kFull, most, offset);
    most = other > most ? other : most;
  }
  if ((threadIdx.x & 31) == 0) atomicMax(bits, static_cast<unsigned long long>(__double_as_longlong(most)));
}

// begin[t] = the first point at or above tile t; the last tile that has an amount takes the points that rounding leaves
// over. The same search for every tile, so begin does not decrease, whatever the points are.
template <class Point>
__global__ void __launch_bounds__(kScanBlock)
    begins(uint32_t* begin, const uint64_t* tiles, unsigned tileCount, Point point, size_t n) {
  const size_t t = size_t(blockIdx.x) * kScanBlock + threadIdx.x;
  if (t > tileCount) return;
  size_t low = 0, high = n;
  if (t == 0) high = 0;
  if (t > 0 && tiles[t] == tiles[tileCount]) low = n;
  while (low < high) {
    const size_t middle = low + (high - low) / 2;
    if (point(middle) >= tiles[t])
      high = middle;
    else
      low = middle + 1;
  }
  begin[t] = static_cast<uint32_t>(low);
}

// Ancestors of points first .. end, which are of this tile.
template <class Amount, class Point>
GPU_FN void invert(int32_t* a, unsigned tile, size_t first, size_t end, const uint64_t* tiles, const Amount& amount,
                   const Point& point, size_t count) {
  SHARED(uint64_t, c, [kTileRoom<kTile>]);
  const size_t origin = size_t(tile) * kTile;
  const unsigned size = static_cast<unsigned>(min(size_t(kTile), count - origin));
  fillTile(c, amount, origin, count);
  const uint64_t last = scanTile<kScanBlock>(c, 0) - 1, before = tiles[tile];
  for (size_t i = first + threadIdx.x; i < end; i += kScanBlock) {
    const uint64_t to = min(point(i) - before, last);
    unsigned low = 0, high = size - 1;
    while (low < high) {
      const unsigned middle = (low + high) / 2;
      if (c[inTile(middle)] > to)
        high = middle;
      else
        low = middle + 1;
    }
    a[i] = static_cast<int32_t>(origin + low);
  }
  __syncthreads();
}

template <class Amount, class Point>
__global__ void __launch_bounds__(kScanBlock) invertTiles(int32_t* a, const uint32_t* begin, const uint64_t* tiles,
                                                          Amount amount, Point point, size_t count, MorePoints more) {
  const size_t first = begin[blockIdx.x], end = begin[blockIdx.x + 1];
  if (first < end) invert(a, blockIdx.x, first, min(end, first + kPointsOfBlock), tiles, amount, point, count);
  leaveRest(more, blockIdx.x, end - first);
}

template <class Amount, class Point>
__global__ void __launch_bounds__(kScanBlock) invertMore(int32_t* a, const uint32_t* begin, const uint64_t* tiles,
                                                         Amount amount, Point point, size_t count, MorePoints more) {
  const uint32_t pieces = *more.count;
  for (uint32_t k = blockIdx.x; k < pieces; k += gridDim.x) {
    const unsigned tile = more.list[k].x;
    const size_t first = begin[tile] + size_t(more.list[k].y) * kPointsOfBlock;
    invert(a, tile, first, min(size_t(begin[tile + 1]), first + kPointsOfBlock), tiles, amount, point, count);
  }
}

// Kept particles are their own ancestors, the others take the next draw.
__global__ void __launch_bounds__(kScanBlock)
    replaceKilled(int32_t* a, const int32_t* drawn, const uint64_t* tiles, Killed killed, size_t n) {
  SHARED(uint64_t, c, [kTileRoom<kTile>]);
  const size_t first = size_t(blockIdx.x) * kTile;
  fillTile(c, killed, first, n);
  scanTile<kScanBlock>(c, 0);
  for (unsigned i = threadIdx.x; i < kTile && first + i < n; i += kScanBlock) {
    const uint64_t before = i == 0 ? 0 : c[inTile(i - 1)];
    a[first + i] = c[inTile(i)] > before ? drawn[tiles[blockIdx.x] + before] : static_cast<int32_t>(first + i);
  }
}

// ---- the schemes ----------------------------------------------------------------------------------------------------

// The sum of the weights in float64, and in `tiles` those of tiles as sumTiles makes them. Waits.
double checkedSum(Context& context, double* number, uint64_t* tiles, double* sums, const double* w, size_t count) {
  const unsigned tileCount = cover(count, kTile);
  LAUNCH((sumWeights), tileCount, kScanBlock, 0, context.stream())(tiles, sums, w, count);
  LAUNCH((totalOf), 1, kTopBlock, 0, context.stream())(number, sums, tileCount);
  launched("summing weights");
  double sum = 0;
  context.download(&sum, number, sizeof sum);
  checkWeightSum(sum);
  return sum;
}

// Systematic and stratified draws: a pass in the belief that the weights are normalised, and where they are not another
// one with their sum.
template <class Points>
void resampleInPasses(Context& context, int32_t* a, size_t n, const double* w, size_t count, const Uniforms& u,
                      size_t uniformsNeeded) {
  const bool enough = !u.areGiven || uniformsNeeded <= u.count;
  if (n > 0 && enough && resampleInOnePass(context, a, {w, 0}, count, Points(u, n))) return;
  const size_t tiles = cover(count, kTile);
  const auto memory = carve(context, {sizeof(double), tiles * sizeof(uint64_t), tiles * sizeof(double)});
  const double sum =
      checkedSum(context, as<double>(memory[0]), as<uint64_t>(memory[1]), as<double>(memory[2]), w, count);
  if (n == 0) return;
  if (!enough) checkUniforms(uniformsNeeded, u.count);
  resampleInOnePass(context, a, {w, sum}, count, Points(u, n));
}

class Resampling {
 public:
  // `draws`: at most so many.
  Resampling(Context& context, const double* w, size_t count, const Uniforms& u, size_t draws, bool kills)
      : context_(context),
        stream_(context.stream()),
        weights_{w, 0},
        count_(count),
        tileCount_(cover(count, kTile)),
        uniforms_(u),
        numbers_(u) {
    const size_t tiles = size_t(tileCount_) + 1, z = draws + 1;
    const auto memory = carve(context, {tiles * sizeof(uint64_t), tiles * sizeof(uint64_t), tiles * sizeof(double),
                                        tiles * sizeof(uint32_t), (size_t(cover(z, kTile)) + 1) * sizeof(uint64_t),
                                        z * sizeof(uint64_t), (draws / kPointsOfBlock + 1) * sizeof(uint2),
                                        sizeof(uint32_t), sizeof(double), kills ? draws * sizeof(int32_t) : 0});
    tiles_ = as<uint64_t>(memory[0]);
    otherTiles_ = as<uint64_t>(memory[1]);
    sums_ = as<double>(memory[2]);
    begin_ = as<uint32_t>(memory[3]);
    zTiles_ = as<uint64_t>(memory[4]);
    z_ = as<uint64_t>(memory[5]);
    more_ = {as<uint32_t>(memory[7]), as<uint2>(memory[6])};
    number_ = as<double>(memory[8]);
    drawn_ = as<int32_t>(memory[9]);
    sumAndCheck();
  }

  void multinomial(int32_t* a, size_t n) { sorted(a, n, WeightUnits{weights_}, 0); }

  // floor(n W) copies of each, the rest by multinomial draws from what is left.
  void residual(int32_t* a, size_t n) {
    const double m = static_cast<double>(n);
    const Copies copies{weights_, m};
    const size_t copied = std::min<size_t>(n, scan(otherTiles_, copies, count_));
    if (copied > 0) draw(a, copied, otherTiles_, copies, EveryPoint{});
    const size_t left = n - copied;
    if (left == 0) return;
    const Fractions fractions{weights_, m, static_cast<double>(left)};
    scanTilesOf(tiles_, fractions, count_);
    sorted(a + copied, left, fractions, 0);
  }

  // Each is kept with probability W / max W and replaced by a multinomial draw otherwise.
  void killing(int32_t* a) {
    need(count_);
    context_.zero(number_, sizeof(double));
    LAUNCH((largest), blocksFor(count_, kTile), kScanBlock, 0, stream_)
    (reinterpret_cast<unsigned long long*>(number_), weights_, count_);
    const Killed killed{weights_, numbers_, number_};
    const size_t n = scan(otherTiles_, killed, count_);
    if (n > 0) sorted(drawn_, n, WeightUnits{weights_}, count_);
    LAUNCH((replaceKilled), tileCount_, kScanBlock, 0, stream_)(a, drawn_, otherTiles_, killed, count_);
    launched("resampling");
  }

 private:
  void need(size_t uniforms) {
    if (uniforms_.areGiven) checkUniforms(uniforms, uniforms_.count);
  }

  // The tiles' sums of the weights as they are, which holds where they turn out to be normalised.
  void sumAndCheck() {
    const double sum = checkedSum(context_, number_, tiles_, sums_, weights_.w, count_);
    if (isNormalised(sum)) {
      LAUNCH((scanTiles), 1, kTopBlock, 0, stream_)(tiles_, tileCount_);
      launched("summing weights");
      return;
    }
    weights_.sum = sum;
    scanTilesOf(tiles_, WeightUnits{weights_}, count_);
  }

  template <class Amount>
  void scanTilesOf(uint64_t* tiles, const Amount& amount, size_t n) {
    const unsigned count = cover(n, kTile);
    LAUNCH((sumTiles<Amount>), count, kScanBlock, 0, stream_)(tiles, amount, n);
    LAUNCH((scanTiles), 1, kTopBlock, 0, stream_)(tiles, count);
    launched("scanning");
  }

  // The same; returns the total.
  template <class Amount>
  size_t scan(uint64_t* tiles, const Amount& amount, size_t n) {
    scanTilesOf(tiles, amount, n);
    uint64_t total = 0;
    context_.download(&total, tiles + cover(n, kTile), sizeof total);
    return total;
  }

  // n ordered draws from amounts whose tiles are in tiles_; n + 1 uniforms from number `from` on.
  template <class Amount>
  void sorted(int32_t* a, size_t n, const Amount& amount, size_t from) {
    need(from + n + 1);
    const double most = static_cast<double>(n + 1) * kLargestSpacing;
    const Spacings spacings{numbers_, from, std::ldexp(kUnit, -std::ilogb(most) - 1)};  // the sum is below 2^61 units
    scanTilesOf(zTiles_, spacings, n + 1);
    LAUNCH((sumUpTo<Spacings>), cover(n + 1, kTile), kScanBlock, 0, stream_)(z_, zTiles_, spacings, n + 1);
    draw(a, n, tiles_, amount, SortedPoints{z_, n, tiles_ + tileCount_});
  }

  template <class Amount, class Point>
  void draw(int32_t* a, size_t n, const uint64_t* tiles, const Amount& amount, const Point& point) {
    context_.zero(more_.count, sizeof(uint32_t));
    LAUNCH((begins<Point>), cover(size_t(tileCount_) + 1, kScanBlock), kScanBlock, 0, stream_)
    (begin_, tiles, tileCount_, point, n);
    LAUNCH((invertTiles<Amount, Point>), tileCount_, kScanBlock, 0, stream_)
    (a, begin_, tiles, amount, point, count_, more_);
    if (n > kPointsOfBlock) {
      const unsigned blocks = std::min(cover(n, kPointsOfBlock), 1024u);
      LAUNCH((invertMore<Amount, Point>), blocks, kScanBlock, 0, stream_)
      (a, begin_, tiles, amount, point, count_, more_);
    }
    launched("resampling");
  }

  Context& context_;
  cudaStream_t stream_;
  Weights weights_;
  size_t count_;
  unsigned tileCount_;
  const Uniforms& uniforms_;
  Numbers numbers_;
  uint64_t *tiles_, *otherTiles_, *zTiles_, *z_;
  double *sums_, *number_;
  uint32_t* begin_;
  MorePoints more_;
  int32_t* drawn_;
};

// The pairing of ssp settles one particle after the other: work for the host, like the check of its arguments.
void resampleOnHost(Context& context, int32_t* ancestors, size_t n, Scheme scheme, const double* weights, size_t count,
                    const Uniforms& u) {
  std::vector<double> w(count), given(u.areGiven ? u.count : 0);
  std::vector<int32_t> a(n);
  context.download(w.data(), weights, count * sizeof(double));
  context.download(given.data(), u.values, given.size() * sizeof(double));
  resample(a.data(), n, scheme, w.data(), count, u.areGiven ? Uniforms(given.data(), given.size()) : u);
  context.upload(ancestors, a.data(), n * sizeof(int32_t));
}

}  // namespace

void CudaParticleKernels::resample(int32_t* ancestors, size_t n, Scheme scheme, const double* weights, size_t count,
                                   const Uniforms& uniforms) {
  checkResamplingSizes(n, count);
  // which checks the weights, even where there is nothing to draw
  const auto inSteps = [&](bool killing) { return Resampling(context_, weights, count, uniforms, n, killing); };
  switch (scheme) {
    case Scheme::kSystematic:
      return resampleInPasses<SystematicPoints>(context_, ancestors, n, weights, count, uniforms, 1);
    case Scheme::kStratified:
      return resampleInPasses<StratifiedPoints>(context_, ancestors, n, weights, count, uniforms, n);
    case Scheme::kMultinomial: {
      auto resampling = inSteps(false);
      if (n > 0) resampling.multinomial(ancestors, n);
      return;
    }
    case Scheme::kResidual: {
      auto resampling = inSteps(false);
      if (n > 0) resampling.residual(ancestors, n);
      return;
    }
    case Scheme::kSsp:
      return resampleOnHost(context_, ancestors, n, scheme, weights, count, uniforms);
    case Scheme::kKilling: {
      auto resampling = inSteps(true);
      if (n == 0) return;
      checkKillingSizes(n, count);
      return resampling.killing(ancestors);
    }
  }
  throw std::invalid_argument("unknown resampling scheme");
}

}  // namespace feynkac
