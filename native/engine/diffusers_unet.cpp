// diffusers' UNet2DModel (huggingface/diffusers). Parameter names are those of its state dict.
#include <cmath>

#include "engine/diffusers_blocks.h"
#include "engine/networks.h"

namespace feynkac {
namespace {

using Config = DiffusersUNetConfig;

constexpr const char* kName = "UNet2DModel";

struct Builder : DiffusersBlocks {
  int downPadding;

  VarId down(const std::string& name, VarId x, Config::Resampling type) const {
    if (type == Config::kResnet) return resnet(name, x, g.var(x).channels, 1, Updown::kDown);
    return DiffusersBlocks::down(name, x, downPadding);
  }
  VarId up(const std::string& name, VarId x, Config::Resampling type) const {
    if (type == Config::kResnet) return resnet(name, x, g.var(x).channels, 1, Updown::kUp);
    return DiffusersBlocks::up(name, x);
  }
};

// The noise embedding (time_proj), or its row of the learned table.
VarId embedTime(const Config& c, Builder& b, Ports& ports) {
  Program& g = b.g;
  const int first = c.blockOutChannels[0];
  if (c.timeEmbedding == Config::kLearned) {
    ports.noise.steps = c.timesteps;
    ports.time = g.variable(1, 1, c.timesteps, false, true);
    const size_t table = b.p.table("time_proj.weight", c.timesteps, first, {0, 0, 1});
    return g.conv(ports.time, 1, first, table, Program::kNoParameter);
  }
  if (c.timeEmbedding == Config::kFourier) {
    ports.noise.buffer = static_cast<int>(b.p.list().size());
    b.p.buffer("time_proj.weight", first, {0, 0, 16});
    return ports.time = g.variable(1, 1, 2 * first, false, true);
  }
  ports.noise = positional(first, c.freqShift, c.cosFirst);
  return ports.time = g.variable(1, 1, first, false, true);
}

// emb = silu(time_embedding(time) + class_embedding(labels))
VarId embed(const Config& c, Builder& b, Ports& ports) {
  Program& g = b.g;
  const auto mlp = [&](const std::string& name, VarId x, VarId residual = kNone) {
    const VarId h = g.silu(b.linear(name + ".linear_1", x, c.timeDim));
    return b.linear(name + ".linear_2", h, c.timeDim, residual);
  };
  VarId emb = mlp("time_embedding", embedTime(c, b, ports));
  if (c.classEmbedding == Config::kTable) {
    ports.labels = g.variable(1, 1, c.classes, false, true);
    const size_t table = b.p.table("class_embedding.weight", c.classes, c.timeDim, {0, 0, 1});
    emb = g.conv(ports.labels, 1, c.timeDim, table, Program::kNoParameter, emb);
  } else if (c.classEmbedding == Config::kIdentity) {
    ports.labels = g.variable(1, 1, c.timeDim, false, true);
    emb = g.sum(emb, ports.labels, 1.0f);
  } else if (c.classEmbedding == Config::kTimestep) {
    ports.classTime = g.variable(1, 1, c.blockOutChannels[0], false, true);
    emb = mlp("class_embedding", ports.classTime, emb);
  }
  return g.silu(emb);
}

}  // namespace

void validate(const Config& c) {
  const auto require = [](bool ok, const std::string& what) { requireSetting(ok, kName, what); };
  require(c.inChannels >= 1 && c.inChannels <= 4096, "in_channels must be from 1 to 4096");
  require(c.height >= 1 && c.width >= 1 && c.height <= 16384 && c.width <= 16384,
          "image sides must be from 1 to 16384");
  const size_t levels = c.blockOutChannels.size();
  require(levels >= 1 && levels <= 12, "block_out_channels must have 1 to 12 entries");
  require(c.downAttention.size() == levels && c.upAttention.size() == levels,
          "down_block_types and up_block_types must have as many entries as block_out_channels");
  for (const int n : c.blockOutChannels) require(n >= 1 && n <= 65536, "block_out_channels must be from 1 to 65536");
  require(c.layersPerBlock >= 1 && c.layersPerBlock <= 64, "layers_per_block must be from 1 to 64");
  require(c.groups >= 1 && c.midGroups >= 0, "norm_num_groups must be at least 1");
  require(std::isfinite(c.eps) && c.eps > 0, "norm_eps must be above 0");
  require(std::isfinite(c.midScaleFactor) && c.midScaleFactor > 0, "mid_block_scale_factor must be above 0");
  require(c.downPadding == 0 || c.downPadding == 1, "downsample_padding must be 0 or 1");
  require(c.headDim >= 0, "attention_head_dim must be at least 1, or null");
  require(c.timeDim >= 1 && c.timeDim <= 1 << 20, "the time embedding must have from 1 to 1048576 entries");
  require(c.classes >= 0 && c.classes <= 1 << 20, "num_class_embeds must be from 0 to 1048576");
  const bool learned = c.timeEmbedding == Config::kLearned;
  require(!learned || (c.timesteps >= 1 && c.timesteps <= 1 << 20),
          "num_train_timesteps must be from 1 to 1048576 for a learned time embedding");
  const int half = c.blockOutChannels[0] / 2;
  const bool positional = c.timeEmbedding == Config::kPositional;
  require(!positional || (c.blockOutChannels[0] % 2 == 0 && half - c.freqShift > 0),
          "block_out_channels must start with an even number that is above 2 freq_shift (sine and cosine halves)");
  require(positional || c.classEmbedding != Config::kTimestep,
          "class_embed_type 'timestep' goes with time_embedding_type 'positional' only");
}

Ports build(const Config& c, Parameters& p, Program& g, bool joint) {
  Builder b{{kName, p, g, c.groups, c.eps, c.headDim, c.scaleShift}, c.downPadding};
  Ports ports;
  ports.input = g.variable(c.height, c.width, c.inChannels, true, true);
  VarId x = b.conv("conv_in", ports.input, 3, c.blockOutChannels[0]);
  b.emb = embed(c, b, ports);

  const int levels = static_cast<int>(c.blockOutChannels.size());
  std::vector<VarId> skips = {x};
  for (int i = 0; i < levels; ++i) {
    const std::string name = "down_blocks." + std::to_string(i);
    for (int j = 0; j < c.layersPerBlock; ++j) {
      x = b.resnet(name + ".resnets." + std::to_string(j), x, c.blockOutChannels[i]);
      if (c.downAttention[i] != 0) x = b.attend(name + ".attentions." + std::to_string(j), x, c.groups);
      skips.push_back(x);
    }
    const Config::Resampling type = c.downAttention[i] != 0 ? c.downType : Config::kConv;
    if (i == levels - 1) continue;
    requireSetting(g.var(x).height % 2 == 0 && g.var(x).width % 2 == 0, kName,
                   "image sides " + std::to_string(c.height) + "x" + std::to_string(c.width) +
                       " must halve evenly at every level of block_out_channels");
    x = b.down(name + ".downsamplers.0", x, type);
    skips.push_back(x);
  }
  if (c.midBlock) x = b.middle("mid_block", x, c.midAttention, c.midGroups, c.midScaleFactor);
  for (int i = 0; i < levels; ++i) {
    const std::string name = "up_blocks." + std::to_string(i);
    for (int j = 0; j <= c.layersPerBlock; ++j) {
      x = b.resnet(name + ".resnets." + std::to_string(j), g.concat(x, skips.back()),
                   c.blockOutChannels[levels - 1 - i]);
      skips.pop_back();
      if (c.upAttention[i] != 0) x = b.attend(name + ".attentions." + std::to_string(j), x, c.groups);
    }
    const Config::Resampling type = c.upAttention[i] != 0 ? c.upType : Config::kConv;
    if (i < levels - 1) x = b.up(name + ".upsamplers.0", x, type);
  }
  x = b.norm("conv_norm_out", x, c.groups, true);
  ports.output = b.conv("conv_out", x, 3, c.inChannels);
  if (joint) ports.energy = b.conv("energy_conv", x, 3, c.inChannels);
  return ports;
}

}  // namespace feynkac
