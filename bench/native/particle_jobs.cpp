// Particles: each step of a population against the bytes that it must move, and the device's own copy for the bandwidth.
#include <functional>
#include <memory>

#include "job.h"
#include "kernels/common/random.h"
#include "kernels/cuda/cuda.h"
#include "timing.h"

namespace feynkac::bench {
namespace {

constexpr int kSets = 3;  // that take turns, so that none is in a cache
constexpr int kTerms = 4;

// Memory of the backend, freed at the end.
class Memory {
 public:
  explicit Memory(ParticleKernels& kernels) : kernels_(kernels) {}
  ~Memory() {
    for (void* p : held_) kernels_.release(p);
  }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  template <class T>
  T* array(size_t n) {
    held_.push_back(nullptr);
    return static_cast<T*>(held_.back() = kernels_.allocate(n * sizeof(T)));
  }
  float* normals(size_t rows, size_t d, uint32_t stream) {
    auto* out = array<float>(rows * d);
    const LinearTerms none = {nullptr, nullptr, 0, false};
    kernels_.combine(out, none, 1, {0, kPropose, stream}, rows, d);
    return out;
  }
  double* uniforms(size_t n, uint32_t stream) {
    auto* out = array<double>(n);
    kernels_.uniforms(out, {0, kResample, stream}, n, 1);
    return out;
  }

 private:
  ParticleKernels& kernels_;
  std::vector<void*> held_;
};

struct Step {
  std::function<void(int)> work;
  double bytes;  // inputs read once, outputs written once
};

Step propose(ParticleKernels& k, Memory& m, size_t n, size_t d) {
  struct Set {
    float *x, *g, *out;
    double* rows[4];
  };
  std::vector<Set> sets;
  for (uint32_t s = 0; s < kSets; ++s) {
    Set set = {m.normals(n, d, 2 * s), m.normals(n, d, 2 * s + 1), m.array<float>(n * d), {}};
    for (double*& row : set.rows) row = m.array<double>(n);
    sets.push_back(set);
  }
  const auto work = [&k, n, d, sets](int i) {
    const double v = 0.04, tau = 0.03;
    const Set& s = sets[i % kSets];
    k.propose(s.out, s.rows[0], s.rows[1], s.rows[2], s.rows[3], s.x, s.g, {&v, &tau, 0, 0},
              {0, kPropose, static_cast<uint32_t>(i)}, n, d);
  };
  return {work, double(n) * (12.0 * double(d) + 32)};
}

Step reweight(ParticleKernels& k, Memory& m, size_t n) {
  struct Set {
    double *lw, *weights;
    const double* terms[kTerms];
  };
  std::vector<Set> sets;
  for (uint32_t s = 0; s < kSets; ++s) {
    Set set = {m.uniforms(n, s), m.array<double>(n), {}};
    for (uint32_t t = 0; t < kTerms; ++t) set.terms[t] = m.uniforms(n, kSets + kTerms * s + t);
    sets.push_back(set);
  }
  const auto work = [&k, n, sets](int i) {
    const double coefficients[kTerms] = {1, -1, 1e-3, -1e-3};
    const Set& s = sets[i % kSets];
    k.reweight(s.lw, s.weights, s.terms, coefficients, kTerms, 0, n);
  };
  return {work, double(n) * 8 * (3 + kTerms)};
}

Step resample(ParticleKernels& k, Memory& m, size_t n) {
  std::vector<const double*> weights;
  std::vector<int32_t*> ancestors;
  for (uint32_t s = 0; s < kSets; ++s) {
    weights.push_back(m.uniforms(n, s));
    ancestors.push_back(m.array<int32_t>(n));
  }
  const auto work = [&k, n, weights, ancestors](int i) {
    k.resample(ancestors[i % kSets], n, Scheme::kSystematic, weights[i % kSets], n,
               Uniforms(0, static_cast<uint32_t>(i)));
  };
  return {work, double(n) * 12};
}

Step gather(ParticleKernels& k, Memory& m, size_t n, size_t d) {
  auto* ancestors = m.array<int32_t>(n);
  k.resample(ancestors, n, Scheme::kSystematic, m.uniforms(n, 0), n, Uniforms(0, 1u));
  std::vector<std::pair<float*, float*>> sets;
  for (uint32_t s = 0; s < kSets; ++s) sets.emplace_back(m.array<float>(n * d), m.normals(n, d, s));
  const auto work = [&k, n, d, ancestors, sets](int i) {
    const auto& [out, in] = sets[i % kSets];
    k.gather(out, in, ancestors, n, d * sizeof(float));
  };
  return {work, double(n) * (8.0 * double(d) + 4)};
}

std::string copyJob(const Job& job) {
  const auto bytes = static_cast<size_t>(job.number("n"));
  const std::unique_ptr<Kernels> k(isCuda(job) ? makeCudaKernels(0, Precision::kFp32) : makeCpuKernels());
  const auto release = [&k](void* p) { k->release(p); };
  std::vector<std::unique_ptr<void, decltype(release)>> arrays;
  for (int i = 0; i < 2; ++i) {
    arrays.emplace_back(k->allocate(bytes), release);
    k->zero(arrays.back().get(), bytes);
  }
  const std::string times =
      timed(*k, job, [&](int i) { k->copy(arrays[i % 2].get(), arrays[1 - i % 2].get(), bytes); });
  return "{" + times + R"(,"bytes":)" + toJson(2.0 * double(bytes)) + R"(,"outputs":{}})";
}

}  // namespace

std::string particleJob(const Job& job) {
  const std::string& name = job.text("job");
  if (name == "copy") return copyJob(job);
  const auto n = static_cast<size_t>(job.number("n")), d = static_cast<size_t>(job.number("d"));
  const size_t before = memoryTaken(job);
  const std::unique_ptr<ParticleKernels> k(isCuda(job) ? makeCudaParticleKernels(0) : makeCpuParticleKernels());
  Memory memory(*k);
  const Step step = name == "propose"    ? propose(*k, memory, n, d)
                    : name == "reweight" ? reweight(*k, memory, n)
                    : name == "resample" ? resample(*k, memory, n)
                    : name == "gather"   ? gather(*k, memory, n, d)
                                         : throw std::invalid_argument("no job is called " + name);
  const std::string times = timed(*k, job, step.work);
  const size_t taken = memoryTaken(job);
  return "{" + times + R"(,"bytes":)" + toJson(step.bytes) + R"(,"deviceBytes":)" +
         toJson(double(taken > before ? taken - before : 0)) + R"(,"outputs":{}})";
}

}  // namespace feynkac::bench
