// A program's variables, and its passes as wholes.
#include <algorithm>
#include <iterator>

#include "engine/layers.h"

namespace feynkac {

VarId Program::variable(int height, int width, int channels, bool active, bool isInput) {
  vars_.push_back({height, width, channels, active, isInput});
  return static_cast<VarId>(vars_.size()) - 1;
}

Buffer Program::x(VarId id) {
  if (vars_[id].x == kNone) vars_[id].x = plan.floats(floats(id));
  return vars_[id].x;
}
Buffer Program::a(VarId id) {
  if (vars_[id].a == kNone) vars_[id].a = plan.floats(floats(id));
  return vars_[id].a;
}
Buffer Program::t(VarId id) {
  if (vars_[id].t == kNone) vars_[id].t = plan.floats(floats(id));
  return vars_[id].t;
}
Buffer Program::b(VarId id) {
  if (vars_[id].b == kNone) vars_[id].b = plan.floats(floats(id));
  return vars_[id].b;
}

bool Program::accumulates(VarId id) {
  const bool before = written_[id];
  written_[id] = true;
  return before;
}

void Program::primal() {
  for (const auto& layer : layers_) layer->primal(*this);
}

void Program::tangent(bool weightTerms) {
  for (const auto& layer : layers_) {
    if (!vars_[layer->out].active || (weightTerms && !hasAdjoint(layer->out))) continue;
    layer->tangent(*this, weightTerms);
    if (weightTerms) writes(*layer);
  }
}

void Program::backward(Backward mode, const std::vector<VarId>& started) {
  written_.assign(vars_.size(), false);
  for (const VarId id : started) written_[id] = true;
  for (auto layer = layers_.rbegin(); layer != layers_.rend(); ++layer) {
    if (!written_[(*layer)->out] || !(mode.weights || vars_[(*layer)->out].active)) continue;
    (*layer)->backward(*this, mode);
    if (mode.weights) writes(**layer);
  }
}

void Program::writes(const Layer& layer) {
  for (const size_t offset : layer.parameters())
    if (offset != kNoParameter) gradients_[offset] = plan.size();
}

const std::vector<GradientPart>& Program::gradientParts(size_t n, size_t least) {
  if (!parts_.empty()) return parts_;
  struct Run {  // of floats up to where the next one begins
    FloatRange range;
    int operations;
  };
  std::vector<Run> runs;
  gradients_.try_emplace(0, 0);
  for (auto at = gradients_.begin(); at != gradients_.end(); ++at) {
    const auto next = std::next(at);
    runs.push_back({{at->first, next == gradients_.end() ? n : next->first}, at->second});
  }
  std::stable_sort(runs.begin(), runs.end(), [](const Run& a, const Run& b) { return a.operations < b.operations; });

  std::vector<int> ends;
  size_t floats = least;  // of the part at hand
  for (const Run& run : runs) {
    if (floats >= least) {
      parts_.emplace_back();
      ends.push_back(0);
      floats = 0;
    }
    parts_.back().push_back(run.range);
    ends.back() = run.operations;
    floats += run.range.last - run.range.first;
  }
  for (GradientPart& part : parts_) {
    std::sort(part.begin(), part.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    GradientPart joined;
    for (const FloatRange& range : part)
      if (!joined.empty() && joined.back().last == range.first)
        joined.back().last = range.last;
      else
        joined.push_back(range);
    part = std::move(joined);
  }
  plan.cut(std::move(ends));
  return parts_;
}

}  // namespace feynkac
