// A program's variables, and its passes as wholes.
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
  for (const auto& layer : layers_)
    if (vars_[layer->out].active && (!weightTerms || hasAdjoint(layer->out))) layer->tangent(*this, weightTerms);
}

void Program::backward(Backward mode, const std::vector<VarId>& started) {
  written_.assign(vars_.size(), false);
  for (const VarId id : started) written_[id] = true;
  for (auto layer = layers_.rbegin(); layer != layers_.rend(); ++layer)
    if (written_[(*layer)->out] && (mode.weights || vars_[(*layer)->out].active)) (*layer)->backward(*this, mode);
}

}  // namespace feynkac
