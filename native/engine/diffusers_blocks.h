// Blocks that diffusers' networks are made of (huggingface/diffusers). Parameter names are those of their state dicts.
#pragma once

#include <string>

#include "engine/layers.h"

namespace feynkac {

struct DiffusersBlocks {
  const char* network;  // for messages
  Parameters& p;
  Program& g;
  int groups;  // of norms
  double eps;
  int headDim = 0;          // of attention; 0: one head
  bool scaleShift = false;  // what the time embedding does in a resnet
  VarId emb = kNone;        // the time embedding after its SiLU; kNone: resnets have none

  VarId conv(const std::string& name, VarId x, int kernel, int out, VarId residual = kNone, float scale = 1.0f) const;
  VarId linear(const std::string& name, VarId x, int out, VarId residual = kNone, float scale = 1.0f) const;
  VarId norm(const std::string& name, VarId x, int groups, bool silu, VarId shift = kNone,
             VarId scaleShift = kNone) const;

  // ResnetBlock2D: x = (conv2(dropout(silu(norm2(conv1(updown(silu(norm1 x))) + time_emb_proj(silu emb))))) +
  // shortcut(updown x)) / divisor; or with norm2's output scaled and shifted by the halves of time_emb_proj.
  enum class Updown { kNone, kUp, kDown };
  VarId resnet(const std::string& name, VarId x, int out, double divisor = 1, Updown how = Updown::kNone) const;

  // x = (to_out(attention(to_q, to_k, to_v of group_norm(x))) + x) / divisor; groups = 0: no norm
  VarId attend(const std::string& name, VarId x, int groups, double divisor = 1) const;

  // The convolution has stride 2: one of stride 1, of which every second pixel is kept. padding 0: one pixel right and
  // below, 1: around.
  VarId down(const std::string& name, VarId x, int padding) const;
  VarId up(const std::string& name, VarId x) const;

  // UNetMidBlock2D with one or no attention
  VarId middle(const std::string& name, VarId x, bool attention, int groups, double divisor = 1) const;
};

}  // namespace feynkac
