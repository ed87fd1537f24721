#include "kernels/common/cases.h"

#include <cmath>
#include <limits>
#include <random>

#include "kernels/common/random.h"

namespace feynkac {
namespace {

// Adam has no case here: its second moments are not any numbers (optimizer_test.cpp).

// In the place of an array that a case leaves out. One that it leaves null is drawn; any other is its own, on the host.
template <class T>
T* absent() {
  static std::remove_const_t<T> nothing;
  return &nothing;
}

// Makes the arrays of an operation on a backend, fills them, and reads its outputs.
class CaseArrays {
 public:
  CaseArrays(Kernels& k, const std::string& name) : k_(k) {
    for (const char c : name) seed_ = seed_ * 31 + static_cast<unsigned char>(c);
  }
  ~CaseArrays() {
    for (void* p : held_) k_.release(p);
  }
  CaseArrays(const CaseArrays&) = delete;
  CaseArrays& operator=(const CaseArrays&) = delete;

  template <class T>
  void reads(const T*& p, size_t n) {
    if (p == absent<T>())
      p = nullptr;
    else
      p = filled(p == nullptr ? drawn<T>(n) : std::vector<T>(p, p + n));
  }
  template <class T>
  void updates(T*& p, size_t n) {
    output(p, n, drawn<T>(n));
  }
  template <class T>
  void writes(T*& p, size_t n, bool accumulate = false) {
    output(p, n, accumulate ? drawn<T>(n) : std::vector<T>(n, std::numeric_limits<T>::quiet_NaN()));
  }
  void packed(const void*&, size_t) {}  // by pack()

  const void* pack(const ConvShape& s) {
    void* packed = bytes(k_.convPackedBytes(s.kernel, s.in, s.out));
    const float* w = filled(drawn<float>(s.weights()));
    k_.run(op::ConvPack{packed, w, s.kernel, s.in, s.out});
    k_.run(op::ConvPackForGrad{packed, w, s.kernel, s.in, s.out});
    return packed;
  }
  OperationCase::Outputs outputs() const {
    OperationCase::Outputs out;
    for (const auto& read : outputs_) out.push_back(read());
    return out;
  }

 private:
  template <class T>
  void output(T*& p, size_t n, const std::vector<T>& before) {
    if (p == absent<T>()) {
      p = nullptr;
      return;
    }
    T* const at = p = filled(before);
    outputs_.push_back([this, at, n] {
      std::vector<T> host(n);
      k_.download(host.data(), at, n * sizeof(T));
      return std::vector<double>(host.begin(), host.end());
    });
  }
  template <class T>
  std::vector<T> drawn(size_t n) {
    std::mt19937 engine(seed_++);
    std::normal_distribution<double> normal;
    std::vector<T> v(n);
    for (T& x : v) x = static_cast<T>(normal(engine));
    return v;
  }
  template <class T>
  T* filled(const std::vector<T>& v) {
    T* p = static_cast<T*>(bytes(v.size() * sizeof(T)));
    k_.upload(p, v.data(), v.size() * sizeof(T));
    return p;
  }
  void* bytes(size_t n) {
    held_.push_back(nullptr);
    return held_.back() = k_.allocate(n);
  }

  Kernels& k_;
  uint32_t seed_ = 1;
  std::vector<void*> held_;
  std::vector<std::function<std::vector<double>()>> outputs_;
};

void pack(CaseArrays& arrays, op::Conv& o) { o.packed = arrays.pack(o.s); }
void pack(CaseArrays& arrays, op::ConvDataGrad& o) { o.packed = arrays.pack(o.s); }
template <class Op>
void pack(CaseArrays&, Op&) {}

class List {
 public:
  std::vector<OperationCase> cases;

  template <class Op>
  void add(const std::string& name, const Op& sizes, bool quick = false) {
    cases.push_back({name, op::hasProducts<Op>, quick, [name, sizes](Kernels& k, const auto& time) {
                       CaseArrays arrays(k, name);
                       Op o = sizes;
                       pack(arrays, o);
                       o.arrays(arrays);
                       k.run(o);
                       auto outputs = arrays.outputs();
                       if (time) time([&] { k.run(o); });
                       return outputs;
                     }});
  }
};

std::string sized(const char* name, std::initializer_list<int> sizes) {
  std::string text;
  for (const int s : sizes) text += (text.empty() ? " " : "x") + std::to_string(s);
  return name + text;
}

void addConvolutions(List& list, int multiprocessors) {
  std::vector<ConvShape> shapes = {
      {2, 9, 9, 36, 20, 3}, {1, 16, 16, 72, 136, 1}, {1, 6, 7, 68, 72, 3}, {1, 5, 7, 3, 5, 3}};
  for (const ConvShape& s : shapes) {
    const auto named = [&](const char* name) {
      return sized(name, {s.batch, s.height, s.width, s.in, s.out, s.kernel});
    };
    list.add(named("conv"), op::Conv{nullptr, nullptr, nullptr, nullptr, nullptr, 0.7f, s}, true);
    list.add(named("conv-data-grad"), op::ConvDataGrad{nullptr, nullptr, nullptr, 0.7f, true, s}, true);
    list.add(named("conv-weight-grad"), op::ConvWeightGrad{nullptr, {}, 1, 0.7f, s}, true);
    list.add(named("conv-weight-grad two terms"), op::ConvWeightGrad{nullptr, {}, 2, 0.7f, s});
  }
  for (const int channels : {72, 136}) {
    const ConvShape s = {1, 128, multiprocessors, 8, channels, 3};
    list.add(sized("conv large", {multiprocessors, channels}),
             op::Conv{nullptr, nullptr, nullptr, absent<float>(), absent<float>(), 1, s}, true);
  }
  list.add("bias-grad 50x37", op::BiasGrad{nullptr, nullptr, 0.7f, 50, 37});
}

void addNorms(List& list) {
  for (const NormShape& s : {NormShape{2, 30, 24, 6, 1e-5f, true, false}, NormShape{2, 7, 85, 17, 1e-5f, true, true},
                             NormShape{3, 49, 20, 4, 1e-5f, false, false}}) {
    static std::vector<float> held;  // means and 1/std that can be, enough for all
    while (held.size() < 128) held.push_back(held.size() % 2 == 0 ? 0.1f : 0.9f);
    const float* stats = held.data();
    const auto named = [&](const char* name) { return sized(name, {s.batch, s.pixels, s.channels, s.groups}); };
    const bool quick = s.channels == 24;
    list.add(named("norm"), op::Norm{nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, s}, quick);
    list.add(named("norm-adjoint"), op::NormAdjoint{nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr,
                                                    stats, nullptr, nullptr, false, s});
    list.add(named("norm-tangent"), op::NormTangent{nullptr, nullptr, nullptr, nullptr, stats, nullptr, nullptr, s});
    list.add(named("norm-second"),
             op::NormSecond{nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, stats,
                            nullptr, nullptr, true, s},
             quick);
  }
}

void addAttention(List& list) {
  for (const AttentionShape& s : {AttentionShape{2, 40, 1, 24}, AttentionShape{1, 7, 2, 5}}) {
    const auto named = [&](const char* name) { return sized(name, {s.batch, s.tokens, s.heads, s.channels}); };
    list.add(named("attention"), op::Attention{nullptr, nullptr, s}, s.tokens == 40);
    list.add(named("attention-adjoint"), op::AttentionAdjoint{nullptr, nullptr, nullptr, s});
    list.add(named("attention-tangent"), op::AttentionTangent{nullptr, nullptr, nullptr, s});
    list.add(named("attention-second"), op::AttentionSecond{nullptr, nullptr, nullptr, nullptr, nullptr, s},
             s.tokens == 40);
  }
}

void addSmallPieces(List& list) {
  static const float taps[] = {0.125f, 0.375f, 0.375f, 0.125f};
  static const uint32_t key[] = {5, 0, 3, 7};
  list.add("downsample 2x6x8x20", op::Downsample{nullptr, nullptr, taps, 4, 1.5f, true, 2, 6, 8, 20});
  list.add("upsample 2x3x5x7", op::Upsample{nullptr, nullptr, taps, 4, 4, false, 2, 3, 5, 7});
  list.add("copy-channels 50x56 of 40", op::CopyChannels{nullptr, nullptr, true, 50, 56, 20, 40, 4, 36});
  list.add("combine 40001", op::Combine{nullptr, 0.7f, nullptr, -1.3f, nullptr, 40001});
  list.add("dot-rows 3x3072", op::DotRows{nullptr, nullptr, nullptr, 3, 3072});
  list.add("combine-rows 300", op::CombineRows{nullptr, nullptr, nullptr, nullptr, nullptr, 300});
  list.add("pad 3x4x3x20 by 2", op::Pad{nullptr, nullptr, 2, true, 3, 4, 3, 20});
  list.add("crop 2x8x9x5 by 3", op::Pad{nullptr, nullptr, -3, false, 2, 8, 9, 5});
  list.add("noise-embedding 5x20", op::NoiseEmbedding{nullptr, nullptr, nullptr, true, 5, 20});
  list.add("modulate 13x70", op::Modulate{nullptr, nullptr, nullptr, nullptr, nullptr, 13, 70});
  list.add("modulate-adjoint 13x70",
           op::ModulateAdjoint{nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, 13, 70});
  list.add("to-channels-last 2x3x77", op::ToChannelsLast{nullptr, nullptr, nullptr, nullptr, nullptr, 2, 3, 77});
  list.add("to-channels-first 2x3x77", op::ToChannelsFirst{nullptr, nullptr, nullptr, nullptr, nullptr, 2, 3, 77});
  list.add("dropout 3x401", op::Dropout{nullptr, nullptr, 0.3f, key, 9, true, 3, 401});
  list.add("pool 3x7x40", op::Pool{nullptr, nullptr, 3, 7, 40}, true);
  list.add("pool-adjoint 3x7x40", op::PoolAdjoint{nullptr, nullptr, true, 3, 7, 40}, true);
}

void addLosses(List& list) {
  static const int32_t offsets[] = {0, 3, 40}, truth[] = {0, 2, 1, 1, 0};
  list.add("cross-entropy 3x40", op::CrossEntropy{nullptr, nullptr, nullptr, nullptr, offsets, 0.5f, 3, 2, 40}, true);
  list.add("projection-loss 3x401", op::ProjectionLoss{nullptr, nullptr, nullptr, nullptr, {0.3f}, 3, 401});
  list.add("level-loss 3x5", op::LevelLoss{nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, truth, 0.5, 3, 5});
  list.add("sum-squares 70001", op::SumSquares{nullptr, nullptr, 70001});
  static const double squares[] = {7.5};
  list.add("muon 33x20", op::Muon{nullptr, nullptr, nullptr, nullptr, squares, {0.5, 0.9, 1.0, 0.95}, 33, 20});
  list.add("add-noise 4x75", op::AddNoise{nullptr, nullptr, nullptr, 5, kNoise, 6, 7, 4, 75}, true);
}

}  // namespace

std::vector<OperationCase> operationCases(int multiprocessors) {
  List list;
  addConvolutions(list, multiprocessors);
  addNorms(list);
  addAttention(list);
  addSmallPieces(list);
  addLosses(list);
  return list.cases;
}

double caseError(const OperationCase::Outputs& got, const OperationCase::Outputs& want) {
  double worst = 0;
  for (size_t a = 0; a < want.size(); ++a) {
    double difference = 0, norm = 0;
    for (size_t i = 0; i < want[a].size(); ++i) {
      difference += (got[a][i] - want[a][i]) * (got[a][i] - want[a][i]);
      norm += want[a][i] * want[a][i];
    }
    const double error = std::sqrt(difference / (norm > 0 ? norm : 1));
    if (!(error <= worst)) worst = error;  // NaN stays
    if (std::isnan(worst)) return std::numeric_limits<double>::infinity();
  }
  return worst;
}

}  // namespace feynkac
