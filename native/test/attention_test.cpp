// Attention and its passes against dual numbers in float64, the adjoint identity, and independence of the thread count.
#include <cstring>

#include "check.h"
#include "dual.h"
#include "kernels/cpu/runtime/threads.h"

using namespace feynkac;
using namespace feynkac::test;

namespace {

size_t qkvSize(const AttentionShape& s) { return size_t(3) * s.batch * s.tokens * s.heads * s.channels; }
size_t oSize(const AttentionShape& s) { return size_t(s.batch) * s.tokens * s.heads * s.channels; }
// part: 0 q, 1 k, 2 v
size_t qkvAt(const AttentionShape& s, int b, int t, int part, int h, int c) {
  return (((size_t(b) * s.tokens + t) * 3 + part) * s.heads + h) * s.channels + c;
}
size_t oAt(const AttentionShape& s, int b, int t, int h, int c) {
  return ((size_t(b) * s.tokens + t) * s.heads + h) * s.channels + c;
}

std::string name(const AttentionShape& s) {
  return "batch " + std::to_string(s.batch) + " tokens " + std::to_string(s.tokens) + " heads " +
         std::to_string(s.heads) + " channels " + std::to_string(s.channels);
}

// One head: x [3, tokens, channels] to [tokens, channels]
template <class T>
std::vector<T> reference(const std::vector<T>& x, int tokens, int channels) {
  const T* q = x.data();
  const T *k = q + size_t(tokens) * channels, *v = k + size_t(tokens) * channels;
  std::vector<T> o(size_t(tokens) * channels), p(tokens);
  const T scale = 1.0 / std::sqrt(double(channels));
  for (int i = 0; i < tokens; ++i) {
    T total = 0.0;
    for (int j = 0; j < tokens; ++j) {
      T score = 0.0;
      for (int c = 0; c < channels; ++c) score += q[i * channels + c] * k[j * channels + c];
      p[j] = exponential(score * scale);
      total += p[j];
    }
    for (int j = 0; j < tokens; ++j)
      for (int c = 0; c < channels; ++c) o[i * channels + c] += p[j] / total * v[j * channels + c];
  }
  return o;
}

struct Data {
  std::vector<float> qkv, t, a, b;
  explicit Data(const AttentionShape& s)
      : qkv(randomVector(qkvSize(s), 1, 1.2f)),
        t(randomVector(qkvSize(s), 2)),
        a(randomVector(oSize(s), 3)),
        b(randomVector(oSize(s), 4)) {}
};

struct Result {
  std::vector<float> o, to, adjoint, second;
};

Result compute(Kernels& k, const AttentionShape& s, const Data& d) {
  Result r{poisoned(oSize(s)), poisoned(oSize(s)), poisoned(qkvSize(s)), poisoned(qkvSize(s))};
  k.run(op::Attention{r.o.data(), d.qkv.data(), s});
  k.run(op::AttentionTangent{r.to.data(), d.t.data(), d.qkv.data(), s});
  k.run(op::AttentionAdjoint{r.adjoint.data(), d.a.data(), d.qkv.data(), s});
  k.run(op::AttentionSecond{r.second.data(), d.b.data(), d.a.data(), d.t.data(), d.qkv.data(), s});
  return r;
}

bool same(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

// gradients: of how many elements of each head's q, k, v; 0: values and identities only
void checkCase(const AttentionShape& s, int gradients, bool smallest = false) {
  const double tolerance = 3e-6;
  const Data d(s);
  const size_t n = size_t(3) * s.tokens * s.channels;
  std::vector<double> o(oSize(s)), to(oSize(s)), adjoint, second;
  std::vector<size_t> at;  // of the gradients in qkv
  std::mt19937 engine(5);
  for (int b = 0; b < s.batch; ++b)
    for (int h = 0; h < s.heads; ++h) {
      std::vector<Dual2> x(n);
      std::vector<size_t> source(n);
      for (int part = 0, i = 0; part < 3; ++part)
        for (int t = 0; t < s.tokens; ++t)
          for (int c = 0; c < s.channels; ++c, ++i) {
            source[i] = qkvAt(s, b, t, part, h, c);
            x[i] = dual2(d.qkv[source[i]], d.t[source[i]], 0);
          }
      const auto evaluate = [&](auto each) {
        const std::vector<Dual2> y = reference(x, s.tokens, s.channels);
        for (int t = 0, i = 0; t < s.tokens; ++t)
          for (int c = 0; c < s.channels; ++c, ++i) each(oAt(s, b, t, h, c), y[i]);
      };
      evaluate([&](size_t j, const Dual2& y) {
        o[j] = y.a.a;
        to[j] = y.a.b;
      });
      for (size_t i = 0; i < n; ++i) {
        if (engine() % n >= size_t(gradients)) continue;
        x[i].b.a = 1;
        at.push_back(source[i]);
        adjoint.push_back(0);
        second.push_back(0);
        evaluate([&](size_t j, const Dual2& y) {
          adjoint.back() += double(d.a[j]) * y.b.a;
          second.back() += double(d.b[j]) * y.b.a + double(d.a[j]) * y.b.b;
        });
        x[i].b.a = 0;
      }
    }
  for (auto& [isa, k] : allKernels(smallest)) {
    const std::string where = isa + " " + name(s);
    setThreadCount(1);
    const Result r = compute(*k, s, d);
    const auto close = [&](const char* what, const std::vector<float>& got, const std::vector<double>& want) {
      const double error = relativeError(got, want);
      CHECK(error < tolerance, "%s: %s, error %.2e", where.c_str(), what, error);
    };
    close("o", r.o, o);
    close("tangent", r.to, to);
    std::vector<float> gotAdjoint, gotSecond;
    for (const size_t i : at) {
      gotAdjoint.push_back(r.adjoint[i]);
      gotSecond.push_back(r.second[i]);
    }
    close("adjoint", gotAdjoint, adjoint);
    close("second", gotSecond, second);
    double left = 0, right = 0, scale = 0, all = 0;
    for (size_t i = 0; i < r.to.size(); ++i)
      left += double(d.a[i]) * r.to[i], scale += std::abs(double(d.a[i]) * r.to[i]);
    for (size_t i = 0; i < r.adjoint.size(); ++i) right += double(r.adjoint[i]) * d.t[i], all += r.second[i];
    CHECK(std::abs(left - right) <= tolerance * (scale + 1), "%s: <a, J t> %.9g, <J^T a, t> %.9g", where.c_str(), left,
          right);
    CHECK(std::isfinite(all), "%s: a part of the second adjoint was not written", where.c_str());
    for (const int threads : {2, 3}) {
      if (isa.rfind("cuda", 0) == 0) break;
      setThreadCount(threads);
      const Result t = compute(*k, s, d);
      CHECK(same(t.o, r.o) && same(t.to, r.to) && same(t.adjoint, r.adjoint) && same(t.second, r.second),
            "%s: %d threads differ from one", where.c_str(), threads);
    }
  }
}

// On the CPU the bits of a sample do not depend on its batch, though few heads are cut into more pieces.
void checkBatch(const AttentionShape& s) {
  const Data all(s);
  const AttentionShape one = {1, s.tokens, s.heads, s.channels};
  Data first = all;
  for (auto* v : {&first.qkv, &first.t}) v->resize(qkvSize(one));
  for (auto* v : {&first.a, &first.b}) v->resize(oSize(one));
  for (auto& [isa, k] : cpuKernels()) {
    setThreadCount(2);
    const Result whole = compute(*k, s, all), alone = compute(*k, one, first);
    const auto begins = [](const std::vector<float>& whole, const std::vector<float>& part) {
      return std::memcmp(whole.data(), part.data(), part.size() * sizeof(float)) == 0;
    };
    CHECK(begins(whole.o, alone.o) && begins(whole.to, alone.to) && begins(whole.adjoint, alone.adjoint) &&
              begins(whole.second, alone.second),
          "%s %s: the batch changes a sample", isa.c_str(), name(s).c_str());
  }
}

}  // namespace

int main() {
  for (const int tokens : {1, 7, 49})
    for (const int heads : {1, 2})
      for (const int channels : {1, 5, 20, 36}) checkCase({2, tokens, heads, channels}, 12);
  checkCase({1, 1, 1, 1}, 12, true);
  checkCase({2, 7, 2, 5}, 12, true);
  checkCase({1, 7, 1, 36}, 12, true);
  checkCase({1, 70, 1, 5}, 4, true);  // two blocks of query rows on a GPU
  checkCase({1, 16, 1, 16}, 800);
  checkCase({1, 7, 1, 5}, 200);
  checkCase({3, 64, 2, 32}, 4);
  checkCase({1, 200, 1, 5}, 20);  // more than one block of query rows
  checkCase({1, 333, 1, 17}, 4);
  checkCase({1, 130, 1, 260}, 2);  // two ranges of query rows
  checkBatch({5, 131, 1, 260});
  checkBatch({5, 131, 1, 9});
  // Scores of several hundred: softmax must not overflow.
  const AttentionShape s{1, 20, 1, 8};
  std::vector<float> qkv = randomVector(qkvSize(s), 8, 30.0f);
  std::vector<Dual2> x(qkvSize(s));
  for (int part = 0, i = 0; part < 3; ++part)
    for (int t = 0; t < s.tokens; ++t)
      for (int c = 0; c < s.channels; ++c, ++i) x[i] = dual2(qkv[qkvAt(s, 0, t, part, 0, c)], 0, 0);
  for (auto& [isa, k] : allKernels()) {
    std::vector<float> o = poisoned(oSize(s));
    k->run(op::Attention{o.data(), qkv.data(), s});
    for (const float v : o) CHECK(std::isfinite(v) && std::abs(v) < 150.0f, "%s: large scores gave %g", isa.c_str(), v);
  }
  // The other precisions and the plain path against the CPU.
  const std::unique_ptr<Kernels> cpu(makeCpuKernels());
  for (const AttentionShape& shape : {AttentionShape{1, 70, 1, 72}, {2, 9, 2, 5}})
    for (auto& [name, kernels, bound] : moreCudaKernels()) {
      const Data d(shape);
      const Result got = compute(*kernels, shape, d), want = compute(*cpu, shape, d);
      const double tolerance = std::fmax(1e-5, 3 * bound);
      for (const double error : {relativeError(got.o, want.o), relativeError(got.to, want.to),
                                 relativeError(got.adjoint, want.adjoint), relativeError(got.second, want.second)})
        CHECK(error < tolerance, "%s %d tokens: %.2e", name.c_str(), shape.tokens, error);
    }
  return report("attention");
}
