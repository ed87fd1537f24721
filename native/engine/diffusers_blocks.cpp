#include "engine/diffusers_blocks.h"

#include "engine/networks.h"

namespace feynkac {
namespace {

const std::vector<float> kBox = {0.5f, 0.5f};  // means of two by two pixels; upwards the nearest pixel

VarId updown(Program& g, VarId x, DiffusersBlocks::Updown how) {
  using Updown = DiffusersBlocks::Updown;
  return how == Updown::kNone ? x : g.updown(x, how == Updown::kUp, kBox);
}

}  // namespace

VarId DiffusersBlocks::conv(const std::string& name, VarId x, int kernel, int out, VarId residual, float scale) const {
  const int in = g.var(x).channels;
  const Initial law = faninUniform(in, kernel * kernel);
  const size_t w = p.conv(name + ".weight", kernel, in, out, law);
  return g.conv(x, kernel, out, w, p.vector(name + ".bias", out, law), residual, scale);
}

VarId DiffusersBlocks::linear(const std::string& name, VarId x, int out, VarId residual, float scale) const {
  const int in = g.var(x).channels;
  const Initial law = faninUniform(in, 1);
  const size_t w = p.linear(name + ".weight", in, out, law);
  return g.conv(x, 1, out, w, p.vector(name + ".bias", out, law), residual, scale);
}

VarId DiffusersBlocks::norm(const std::string& name, VarId x, int normGroups, bool silu, VarId shift,
                            VarId modulation) const {
  const int channels = g.var(x).channels;
  requireSetting(channels % normGroups == 0, network,
                 "the " + std::to_string(channels) + " channels of " + name + " do not divide into " +
                     std::to_string(normGroups) + " groups: change norm_num_groups or block_out_channels");
  const size_t gamma = p.vector(name + ".weight", channels, {1.0});
  const size_t beta = p.vector(name + ".bias", channels, {});
  return g.norm(x, shift, normGroups, static_cast<float>(eps), silu, gamma, beta, modulation);
}

VarId DiffusersBlocks::resnet(const std::string& name, VarId x, int out, double divisor, Updown how) const {
  const int in = g.var(x).channels;
  VarId h = updown(g, norm(name + ".norm1", x, groups, true), how);
  h = conv(name + ".conv1", h, 3, out);
  const VarId e = emb == kNone ? kNone : linear(name + ".time_emb_proj", emb, scaleShift ? 2 * out : out);
  h = scaleShift ? norm(name + ".norm2", h, groups, true, kNone, e) : norm(name + ".norm2", h, groups, true, e);
  h = g.dropout(h);
  const Initial law = faninUniform(out, 9);
  const size_t w = p.conv(name + ".conv2.weight", 3, out, out, law);
  const size_t b = p.vector(name + ".conv2.bias", out, law);
  VarId residual = updown(g, x, how);
  if (in != out) residual = conv(name + ".conv_shortcut", residual, 1, out);
  return g.conv(h, 3, out, w, b, residual, static_cast<float>(1 / divisor));
}

VarId DiffusersBlocks::attend(const std::string& name, VarId x, int normGroups, double divisor) const {
  const int channels = g.var(x).channels;
  const int dim = headDim > 0 ? headDim : channels, heads = channels / dim;
  requireSetting(
      heads >= 1, network,
      name + " has " + std::to_string(channels) + " channels, fewer than attention_head_dim " + std::to_string(dim));
  const int inner = heads * dim;
  const VarId h = normGroups > 0 ? norm(name + ".group_norm", x, normGroups, false) : x;
  const Initial law = faninUniform(channels, 1);
  const size_t w = p.joined(size_t(channels) * 3 * inner), b = p.joined(size_t(3) * inner);
  int column = 0;
  for (const char* part : {".to_q", ".to_k", ".to_v"}) {
    p.linearPart(w, name + part + ".weight", channels, inner, column, 3 * inner, law);
    p.vectorPart(b, name + part + ".bias", inner, column, law);
    column += inner;
  }
  const VarId o = g.attention(g.conv(h, 1, 3 * inner, w, b), heads);
  return linear(name + ".to_out.0", o, channels, x, static_cast<float>(1 / divisor));
}

VarId DiffusersBlocks::down(const std::string& name, VarId x, int padding) const {
  const std::vector<float> kept = padding == 0 ? std::vector<float>{0, 1} : std::vector<float>{1, 0};
  return g.updown(conv(name + ".conv", x, 3, g.var(x).channels), false, kept);
}

VarId DiffusersBlocks::up(const std::string& name, VarId x) const {
  return conv(name + ".conv", g.updown(x, true, kBox), 3, g.var(x).channels);
}

VarId DiffusersBlocks::middle(const std::string& name, VarId x, bool attention, int attentionGroups,
                              double divisor) const {
  const int channels = g.var(x).channels;
  x = resnet(name + ".resnets.0", x, channels, divisor);
  if (attention) x = attend(name + ".attentions.0", x, attentionGroups, divisor);
  return resnet(name + ".resnets.1", x, channels, divisor);
}

}  // namespace feynkac
