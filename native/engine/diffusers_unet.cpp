// diffusers' UNet2DModel (huggingface/diffusers). Parameter names are those of its state dict.
#include <cmath>

#include "engine/networks.h"

namespace feynkac {
namespace {

using Config = DiffusersUNetConfig;

constexpr const char* kName = "UNet2DModel";
const std::vector<float> kBox = {0.5f, 0.5f};  // means of two by two pixels; upwards the nearest pixel

struct Builder {
  const Config& config;
  Parameters& p;
  Program& g;
  VarId emb = kNone;  // after its SiLU

  VarId conv(const std::string& name, VarId x, int kernel, int out, VarId residual = kNone, float scale = 1.0f) {
    const int in = g.var(x).channels;
    const Initial law = faninUniform(in, kernel * kernel);
    const size_t w = p.conv(name + ".weight", kernel, in, out, law);
    return g.conv(x, kernel, out, w, p.vector(name + ".bias", out, law), residual, scale);
  }
  VarId linear(const std::string& name, VarId x, int out, VarId residual = kNone, float scale = 1.0f) {
    const int in = g.var(x).channels;
    const Initial law = faninUniform(in, 1);
    const size_t w = p.linear(name + ".weight", in, out, law);
    return g.conv(x, 1, out, w, p.vector(name + ".bias", out, law), residual, scale);
  }
  VarId norm(const std::string& name, VarId x, int groups, bool silu, VarId shift = kNone, VarId scaleShift = kNone) {
    const int channels = g.var(x).channels;
    requireSetting(channels % groups == 0, kName,
                   "the " + std::to_string(channels) + " channels of " + name + " do not divide into " +
                       std::to_string(groups) + " groups: change norm_num_groups or block_out_channels");
    const size_t gamma = p.vector(name + ".weight", channels, {1.0});
    const size_t beta = p.vector(name + ".bias", channels, {});
    return g.norm(x, shift, groups, static_cast<float>(config.eps), silu, gamma, beta, scaleShift);
  }

  // ResnetBlock2D: x = (conv2(dropout(silu(norm2(conv1(resample(silu(norm1 x))) + time_emb_proj(silu emb))))) +
  // shortcut(resample x)) / divisor; or with norm2's output scaled and shifted by the halves of time_emb_proj.
  enum class Resample { kNone, kUp, kDown };
  VarId resnet(const std::string& name, VarId x, int out, double divisor = 1, Resample how = Resample::kNone) {
    const int in = g.var(x).channels;
    VarId h = resample(norm(name + ".norm1", x, config.groups, true), how);
    h = conv(name + ".conv1", h, 3, out);
    const VarId e = linear(name + ".time_emb_proj", emb, config.scaleShift ? 2 * out : out);
    h = config.scaleShift ? norm(name + ".norm2", h, config.groups, true, kNone, e)
                          : norm(name + ".norm2", h, config.groups, true, e);
    h = g.dropout(h);
    const Initial law = faninUniform(out, 9);
    const size_t w = p.conv(name + ".conv2.weight", 3, out, out, law);
    const size_t b = p.vector(name + ".conv2.bias", out, law);
    VarId residual = resample(x, how);
    if (in != out) residual = conv(name + ".conv_shortcut", residual, 1, out);
    return g.conv(h, 3, out, w, b, residual, static_cast<float>(1 / divisor));
  }
  VarId resample(VarId x, Resample how) {
    return how == Resample::kNone ? x : g.resample(x, how == Resample::kUp, kBox);
  }

  // x = (to_out(attention(to_q, to_k, to_v of group_norm(x))) + x) / divisor; groups = 0: no norm
  VarId attend(const std::string& name, VarId x, int groups, double divisor = 1) {
    const int channels = g.var(x).channels;
    const int headDim = config.headDim > 0 ? config.headDim : channels, heads = channels / headDim;
    requireSetting(heads >= 1, kName,
                   name + " has " + std::to_string(channels) + " channels, fewer than attention_head_dim " +
                       std::to_string(headDim));
    const int inner = heads * headDim;
    const VarId h = groups > 0 ? norm(name + ".group_norm", x, groups, false) : x;
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

  // The convolution has stride 2: one of stride 1, of which every second pixel is kept.
  VarId down(const std::string& name, VarId x, Config::Resampling type) {
    const int channels = g.var(x).channels;
    if (type == Config::kResnet) return resnet(name, x, channels, 1, Resample::kDown);
    const std::vector<float> kept = config.downPadding == 0 ? std::vector<float>{0, 1} : std::vector<float>{1, 0};
    return g.resample(conv(name + ".conv", x, 3, channels), false, kept);
  }
  VarId up(const std::string& name, VarId x, Config::Resampling type) {
    const int channels = g.var(x).channels;
    if (type == Config::kResnet) return resnet(name, x, channels, 1, Resample::kUp);
    return conv(name + ".conv", resample(x, Resample::kUp), 3, channels);
  }

  VarId join(VarId x, VarId skip) {
    const Var a = g.var(x), b = g.var(skip);
    requireSetting(a.height == b.height && a.width == b.width, kName,
                   "the way up does not meet the sizes of the way down: check downsample_type and upsample_type");
    return g.concat(x, skip);
  }
};

// time_embedding of the noise embedding, plus the class embedding.
VarId embed(const Config& c, Builder& b, Ports& ports) {
  Parameters& p = b.p;
  Program& g = b.g;
  const int first = c.blockOutChannels[0], noiseChannels = c.fourier ? 2 * first : first;
  if (c.fourier) {
    ports.noise.buffer = static_cast<int>(p.list().size());
    p.buffer("time_proj.weight", first, {0, 0, 16});
  } else {
    ports.noise = positional(noiseChannels, c.freqShift, c.cosFirst);
  }
  ports.time = g.variable(1, 1, noiseChannels, false, true);
  VarId emb = g.silu(b.linear("time_embedding.linear_1", ports.time, c.timeDim));
  emb = b.linear("time_embedding.linear_2", emb, c.timeDim);
  if (c.classEmbedding == Config::kTable) {
    ports.labels = g.variable(1, 1, c.classes, false, true);
    const size_t table = p.table("class_embedding.weight", c.classes, c.timeDim, {0, 0, 1});
    emb = g.conv(ports.labels, 1, c.timeDim, table, Program::kNoParameter, emb);
  } else if (c.classEmbedding == Config::kIdentity) {
    ports.labels = g.variable(1, 1, c.timeDim, false, true);
    emb = g.sum(emb, ports.labels, 1.0f);
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
  const int half = c.blockOutChannels[0] / 2;
  require(c.fourier || (c.blockOutChannels[0] % 2 == 0 && half - c.freqShift > 0),
          "block_out_channels must start with an even number that is above 2 freq_shift (sine and cosine halves)");
}

Ports build(const Config& c, Parameters& p, Program& g, bool joint) {
  Builder b{c, p, g};
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
    if (i == levels - 1 || type == Config::kNone) continue;
    requireSetting(g.var(x).height % 2 == 0 && g.var(x).width % 2 == 0, kName,
                   "image sides " + std::to_string(c.height) + "x" + std::to_string(c.width) +
                       " must halve evenly at every level of block_out_channels");
    x = b.down(name + ".downsamplers.0", x, type);
    skips.push_back(x);
  }
  if (c.midBlock) {
    const int channels = g.var(x).channels;
    x = b.resnet("mid_block.resnets.0", x, channels, c.midScaleFactor);
    if (c.midAttention) x = b.attend("mid_block.attentions.0", x, c.midGroups, c.midScaleFactor);
    x = b.resnet("mid_block.resnets.1", x, channels, c.midScaleFactor);
  }
  for (int i = 0; i < levels; ++i) {
    const std::string name = "up_blocks." + std::to_string(i);
    for (int j = 0; j <= c.layersPerBlock; ++j) {
      // a way down without some of its halvings leaves fewer skips than the way up takes
      requireSetting(!skips.empty(), kName, "the way up takes more skips than the way down leaves");
      x = b.resnet(name + ".resnets." + std::to_string(j), b.join(x, skips.back()), c.blockOutChannels[levels - 1 - i]);
      skips.pop_back();
      if (c.upAttention[i] != 0) x = b.attend(name + ".attentions." + std::to_string(j), x, c.groups);
    }
    const Config::Resampling type = c.upAttention[i] != 0 ? c.upType : Config::kConv;
    if (i < levels - 1 && type != Config::kNone) x = b.up(name + ".upsamplers.0", x, type);
  }
  x = b.norm("conv_norm_out", x, c.groups, true);
  ports.output = b.conv("conv_out", x, 3, c.inChannels);
  if (joint) ports.energy = b.conv("energy_conv", x, 3, c.inChannels);
  const Var out = g.var(ports.output);
  requireSetting(out.height == c.height && out.width == c.width, kName,
                 "the output is " + std::to_string(out.height) + "x" + std::to_string(out.width) +
                     ": the ways down and up differ");
  return ports;
}

}  // namespace feynkac
