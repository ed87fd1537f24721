// A known-answer test of milliseconds: code that has never run on a device is not trusted there.
#include <cmath>
#include <functional>
#include <random>
#include <vector>

#include "cuda.h"
#include "kernels/common/random.h"
#include "paths.h"

namespace feynkac {
namespace {

using Values = std::vector<float>;

Values normals(size_t n, unsigned seed) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal;
  Values v(n);
  for (float& x : v) x = normal(engine);
  return v;
}

// Arrays on one backend, freed at the end.
class Arrays {
 public:
  explicit Arrays(Kernels& k) : k_(k) {}
  ~Arrays() {
    for (void* p : held_) k_.release(p);
  }
  Arrays(const Arrays&) = delete;
  Arrays& operator=(const Arrays&) = delete;
  float* operator()(const Values& v) {
    float* p = static_cast<float*>(bytes(v.size() * sizeof(float)));
    k_.upload(p, v.data(), v.size() * sizeof(float));
    return p;
  }
  void* bytes(size_t n) {
    held_.push_back(nullptr);
    return held_.back() = k_.allocate(n);
  }
  Values get(const float* p, size_t n) {
    Values v(n);
    k_.download(v.data(), p, n * sizeof(float));
    return v;
  }

 private:
  Kernels& k_;
  std::vector<void*> held_;
};

struct Case {
  const char* name;
  bool products;  // rounds factors in the reduced precisions
  std::function<Values(Kernels&)> run;
};

// The convolutions in large tiles have enough of them for each multiprocessor, without which smaller ones are chosen.
std::vector<Case> cases(int multiprocessors) {
  std::vector<Case> out;
  for (const int channels : {72, 136}) {
    const ConvShape s = {1, 128, multiprocessors, 8, channels, 3};
    const size_t pixels = size_t(s.batch) * s.height * s.width, weights = size_t(s.kernel) * s.kernel * s.in * s.out;
    out.push_back({"convolution in large tiles", true, [=](Kernels& k) {
                     Arrays a(k);
                     float* y = static_cast<float*>(a.bytes(pixels * s.out * sizeof(float)));
                     void* packed = a.bytes(k.convPackedBytes(s.kernel, s.in, s.out));
                     k.run(op::ConvPack{packed, a(normals(weights, 1)), s.kernel, s.in, s.out});
                     k.run(op::Conv{y, a(normals(pixels * s.in, 2)), packed, nullptr, nullptr, 1, s});
                     return a.get(y, pixels * s.out);
                   }});
  }
  for (const ConvShape& s : {ConvShape{2, 9, 9, 36, 20, 3}, ConvShape{1, 16, 16, 72, 136, 1},
                             ConvShape{1, 6, 7, 68, 72, 3}, ConvShape{1, 5, 7, 3, 5, 3}}) {
    const size_t pixels = size_t(s.batch) * s.height * s.width, weights = size_t(s.kernel) * s.kernel * s.in * s.out;
    const auto setUp = [=](Kernels& k, Arrays& a) {
      void* packed = a.bytes(k.convPackedBytes(s.kernel, s.in, s.out));
      const float* w = a(normals(weights, 1));
      k.run(op::ConvPack{packed, w, s.kernel, s.in, s.out});
      k.run(op::ConvPackForGrad{packed, w, s.kernel, s.in, s.out});
      return packed;
    };
    out.push_back({"convolution", true, [=](Kernels& k) {
                     Arrays a(k);
                     float* y = a(normals(pixels * s.out, 2));
                     k.run(op::Conv{y, a(normals(pixels * s.in, 3)), setUp(k, a), a(normals(s.out, 4)), y, 0.7f, s});
                     return a.get(y, pixels * s.out);
                   }});
    out.push_back({"convolution's data gradient", true, [=](Kernels& k) {
                     Arrays a(k);
                     float* dx = a(normals(pixels * s.in, 5));
                     k.run(op::ConvDataGrad{dx, a(normals(pixels * s.out, 6)), setUp(k, a), 0.7f, true, s});
                     return a.get(dx, pixels * s.in);
                   }});
    out.push_back(
        {"convolution's weight gradient", true, [=](Kernels& k) {
           Arrays a(k);
           float* dw = a(normals(weights, 7));
           k.run(op::ConvWeightGrad{dw, {{a(normals(pixels * s.in, 8)), a(normals(pixels * s.out, 9))}}, 1, 0.7f, s});
           return a.get(dw, weights);
         }});
  }
  const NormShape n = {2, 30, 24, 6, 1e-5f, true, false};
  const size_t size = size_t(n.batch) * n.pixels * n.channels, stats = size_t(2) * n.batch * n.groups;
  out.push_back({"group norm", false, [=](Kernels& k) {
                   Arrays a(k);
                   float *y = a(Values(size)), *s = a(Values(stats)), *dx = a(Values(size)), *x = a(normals(size, 1));
                   const float *e = a(normals(n.batch * n.channels, 2)), *gamma = a(normals(n.channels, 3)),
                               *beta = a(normals(n.channels, 4)), *by = a(normals(size, 5)), *tx = a(normals(size, 6));
                   k.run(op::Norm{y, s, x, e, gamma, beta, n});
                   k.run(op::NormSecond{dx, nullptr, nullptr, nullptr, by, y, tx, x, e, s, gamma, beta, false, n});
                   k.run(op::Combine{y, 1, y, 1, dx, size});
                   return a.get(y, size);
                 }});
  const AttentionShape t = {2, 40, 1, 24};
  const size_t values = size_t(t.batch) * t.tokens * t.heads * t.channels;
  out.push_back({"attention", true, [=](Kernels& k) {
                   Arrays a(k);
                   float* o = a(Values(values));
                   k.run(op::Attention{o, a(normals(3 * values, 1)), t});
                   return a.get(o, values);
                 }});
  out.push_back({"attention's second adjoint", true, [=](Kernels& k) {
                   Arrays a(k);
                   float* d = a(Values(3 * values));
                   k.run(op::AttentionSecond{d, a(normals(values, 2)), a(normals(values, 3)), a(normals(3 * values, 4)),
                                             a(normals(3 * values, 5)), t});
                   return a.get(d, 3 * values);
                 }});
  out.push_back({"cross-entropy", false, [](Kernels& k) {
                   Arrays a(k);
                   const int32_t offsets[] = {0, 3, 40};
                   auto* o = static_cast<int32_t*>(a.bytes(sizeof(offsets)));
                   k.upload(o, offsets, sizeof(offsets));
                   float *pooled = a(Values(120)), *d = a(Values(120)), *x = a(normals(840, 1));
                   auto* losses = static_cast<double*>(a.bytes(3 * sizeof(double)));
                   k.run(op::Pool{pooled, x, 3, 7, 40});
                   k.run(op::CrossEntropy{d, losses, pooled, a(Values(120, 0.1f)), o, 0.5f, 3, 2, 40});
                   k.run(op::PoolAdjoint{x, d, true, 3, 7, 40});
                   return a.get(x, 840);
                 }});
  out.push_back({"noise", false, [](Kernels& k) {
                   Arrays a(k);
                   float* x = a(Values(300));
                   k.run(op::AddNoise{x, a(normals(300, 1)), a(Values(4, 2.0f)), 5, kNoise, 6, 7, 4, 75});
                   return a.get(x, 300);
                 }});
  return out;
}

}  // namespace

std::string selfTest(Kernels& cuda, Precision precision) {
  const std::unique_ptr<Kernels> cpu(makeCpuKernels());
  const double rounding = precision == Precision::kFp32 ? 1e-5 : precision == Precision::kTf32 ? 3e-3 : 2e-2;
  for (const Case& c : cases(cudaDevices().list.at(cuda.device()).multiprocessors)) {
    const Values got = c.run(cuda), want = c.run(*cpu);
    double difference = 0, norm = 0;
    for (size_t i = 0; i < want.size(); ++i) {
      difference += (double(got[i]) - want[i]) * (double(got[i]) - want[i]);
      norm += double(want[i]) * want[i];
    }
    const double error = std::sqrt(difference / norm);
    if (!(error < (c.products ? rounding : 1e-5))) return std::string(c.name) + " is off by " + std::to_string(error);
  }
  return "";
}

}  // namespace feynkac
