// NVlabs/edm's U-Nets: SongUNet (DDPM++ and NCSN++, Song et al. 2021) and DhariwalUNet (ADM, Dhariwal & Nichol 2021).
// Parameter names and their order are those of the reference's state dict.
#include <algorithm>
#include <cmath>

#include "engine/networks.h"

namespace feynkac {
namespace {

constexpr size_t kNoParameter = Program::kNoParameter;
constexpr int kHeadChannels = 64;  // of ADM

const char* nameOf(const EdmUNetConfig& c) { return c.adm ? "DhariwalUNet" : "SongUNet"; }

int groupsFor(int channels) { return std::min(32, channels / 4); }  // EDM's rule; it must divide the channels

enum class Updown { kNone, kUp, kDown };

struct Builder {
  const EdmUNetConfig& config;
  Parameters& p;
  Program& g;
  std::vector<float> taps;
  VarId emb = kNone;
  int embChannels = 0;
  const float eps = config.adm ? 1e-5f : 1e-6f;
  const float skipScale = config.adm ? 1.0f : std::sqrt(0.5f);

  // gain: of the initial weights; 1e-5 in SongUNet and 0 in ADM where a branch starts at nothing
  Initial weight(int in, int out, int taps, double gain) const {
    Initial law = config.adm ? faninUniform(in, taps) : xavierUniform(in, out, taps);
    law.uniform *= gain;
    return law;
  }
  Initial bias(int in, int taps, double gain) const {
    Initial law;
    if (config.adm) law.uniform = gain * faninUniform(in, taps).uniform;
    return law;
  }
  double nothing() const { return config.adm ? 0.0 : 1e-5; }

  struct Affine {
    size_t w, b;
  };
  Affine convParameters(const std::string& name, int kernel, int in, int out, double gain) {
    const int taps = kernel * kernel;
    const size_t w = p.conv(name + ".weight", kernel, in, out, weight(in, out, taps, gain));
    return {w, p.vector(name + ".bias", out, bias(in, taps, gain))};
  }
  VarId conv(const std::string& name, VarId x, int kernel, int out, double gain = 1.0, VarId residual = kNone,
             float scale = 1.0f) {
    const Affine a = convParameters(name, kernel, g.var(x).channels, out, gain);
    return g.conv(x, kernel, out, a.w, a.b, residual, scale);
  }
  VarId linear(const std::string& name, VarId x, int out) {
    const int in = g.var(x).channels;
    const size_t w = p.linear(name + ".weight", in, out, weight(in, out, 1, 1));
    return g.conv(x, 1, out, w, p.vector(name + ".bias", out, bias(in, 1, 1)));
  }
  VarId norm(const std::string& name, VarId x, bool silu, VarId shift = kNone, VarId scaleShift = kNone) {
    const int channels = g.var(x).channels, groups = groupsFor(channels);
    requireSetting(groups >= 1 && channels % groups == 0, nameOf(config),
                   "the " + std::to_string(channels) + " channels of " + name +
                       " do not divide into min(32, channels / 4) groups: change model_channels or channel_mult");
    const size_t gamma = p.vector(name + ".weight", channels, {1.0});
    return g.norm(x, shift, groups, eps, silu, gamma, p.vector(name + ".bias", channels, {}), scaleShift);
  }
  VarId updown(VarId x, Updown how) { return how == Updown::kNone ? x : g.updown(x, how == Updown::kUp, taps); }

  // UNetBlock: h = conv0(updown(silu(norm0 x))); h = silu(norm1(h + affine(emb))), or with norm1's output scaled and
  // shifted by the halves of affine(emb); x = (conv1(dropout(h)) + skip(x)) skip_scale; then attention.
  VarId block(const std::string& name, VarId x, int out, bool attention, Updown how = Updown::kNone) {
    const int in = g.var(x).channels;
    VarId h = norm(name + ".norm0", x, true);
    h = conv(name + ".conv0", updown(h, how), 3, out);
    const VarId e = linear(name + ".affine", emb, config.adm ? 2 * out : out);
    h = config.adm ? norm(name + ".norm1", h, true, kNone, e) : norm(name + ".norm1", h, true, e);
    h = g.dropout(h);
    // conv1 comes before skip in the state dict; its layer comes after the residual it adds
    const Affine conv1 = convParameters(name + ".conv1", 3, out, out, nothing());
    VarId residual = updown(x, how);
    if (in != out || (how != Updown::kNone && !config.adm)) residual = conv(name + ".skip", residual, 1, out);
    x = g.conv(h, 3, out, conv1.w, conv1.b, residual, skipScale);
    const int heads = config.adm ? out / kHeadChannels : 1;
    return attention && heads > 0 ? attend(name, x, heads) : x;
  }

  // x = (proj(attention(qkv(norm2 x))) + x) skip_scale
  VarId attend(const std::string& name, VarId x, int heads) {
    const int channels = g.var(x).channels;
    requireSetting(channels % heads == 0, nameOf(config),
                   "the " + std::to_string(channels) + " channels of " + name + " do not divide into " +
                       std::to_string(heads) + " heads");
    VarId h = norm(name + ".norm2", x, false);
    const double gain = config.adm ? 1.0 : std::sqrt(0.2);
    const size_t w = p.qkv(name + ".qkv.weight", channels, heads, weight(channels, 3 * channels, 1, gain));
    h = g.conv(h, 1, 3 * channels, w, p.qkvBias(name + ".qkv.bias", channels, heads, bias(channels, 1, gain)));
    return conv(name + ".proj", g.attention(h, heads), 1, channels, nothing(), x, skipScale);
  }

  // An image of every label, and one of none, added to what the first convolution makes of `like`. They begin as nothing.
  VarId labelMaps(VarId labels, VarId like, int channels) {
    const Var size = g.var(like);
    const int pixels = size.height * size.width, in = g.var(labels).channels;
    const size_t w = p.linear("label_maps.weight", in, pixels * channels, {});
    return g.image(labels, size.height, size.width, channels, w, p.vector("label_maps.bias", pixels * channels, {}));
  }

  // NCSN++'s aux_residual: a convolution that sees (taps - 1) / 2 pixels beyond the image, then the filter without
  // padding, so that nothing at the border is filtered with zeros.
  VarId fusedDown(const std::string& name, VarId x, int out) {
    const int seen = (static_cast<int>(taps.size()) - 1) / 2,
              margin = (seen + 1) / 2 * 2;  // whole pixels of the half image
    if (margin == 0) return updown(conv(name, x, 3, out), Updown::kDown);
    const VarId wide = updown(conv(name, g.pad(x, margin), 3, out), Updown::kDown);
    return g.pad(wide, -margin / 2);
  }
};

VarId admEmbedding(const EdmUNetConfig& c, Builder& b, Ports& ports) {
  Parameters& p = b.p;
  Program& g = b.g;
  VarId emb = ports.time = g.variable(1, 1, c.modelChannels, false, true);
  if (c.augmentDim > 0) {
    ports.augment = g.variable(1, 1, c.augmentDim, false, true);
    const size_t w = p.linear("map_augment.weight", c.augmentDim, c.modelChannels, {});
    emb = g.conv(ports.augment, 1, c.modelChannels, w, kNoParameter, emb);
  }
  emb = g.silu(b.linear("map_layer0", emb, b.embChannels));
  emb = b.linear("map_layer1", emb, b.embChannels);
  if (c.labelDim > 0) {
    ports.labels = g.variable(1, 1, c.labelDim, false, true);
    // kaiming_normal times sqrt(label_dim): N(0, 1)
    const size_t w = p.linear("map_label.weight", c.labelDim, b.embChannels, {0, 0, 1});
    emb = g.conv(ports.labels, 1, b.embChannels, w, kNoParameter, emb);
  }
  return g.silu(emb);
}

VarId noiseEmbedding(const EdmUNetConfig& c, Builder& b, Ports& ports) {
  const int noiseChannels = c.modelChannels * c.channelMultNoise;
  if (c.adm) {
    ports.noise = positional(noiseChannels, 0, true);
    return admEmbedding(c, b, ports);
  }
  if (c.fourier) {
    ports.noise.buffer = static_cast<int>(b.p.list().size());
    b.p.buffer("map_noise.freqs", noiseChannels / 2, {0, 0, 16});
  } else {
    ports.noise = positional(noiseChannels, 1, false);
  }
  return songEmbedding(b.p, b.g, noiseChannels, b.embChannels, c.labelDim, c.augmentDim, ports);
}

}  // namespace

void validate(const EdmUNetConfig& c) {
  const auto require = [&](bool ok, const std::string& what) { requireSetting(ok, nameOf(c), what); };
  require(c.inChannels >= 1 && c.inChannels <= 4096, "in_channels must be from 1 to 4096");
  require(c.height >= 1 && c.width >= 1 && c.height <= 16384 && c.width <= 16384,
          "image sides must be from 1 to 16384");
  require(c.modelChannels >= 4 && c.modelChannels <= 4096, "model_channels must be from 4 to 4096");
  require(!c.channelMult.empty() && c.channelMult.size() <= 12, "channel_mult must have 1 to 12 entries");
  require(c.numBlocks >= 0 && c.numBlocks <= 64, "num_blocks must be from 0 to 64");
  require(c.labelDim >= 0 && c.augmentDim >= 0 && c.labelDim <= 1 << 20 && c.augmentDim <= 1 << 20,
          "label_dim and augment_dim must be from 0 to 1048576");
  require(c.channelMultEmb >= 1 && c.channelMultEmb <= 64 && c.channelMultNoise >= 1 && c.channelMultNoise <= 64,
          "channel_mult_emb and channel_mult_noise must be from 1 to 64");
  require(c.modelChannels * c.channelMultNoise % 2 == 0 && c.modelChannels * c.channelMultNoise >= 4,
          "model_channels times channel_mult_noise must be even and at least 4 (sine and cosine halves)");
  const int halvings = static_cast<int>(c.channelMult.size()) - 1;
  require(c.height % (1 << halvings) == 0 && c.width % (1 << halvings) == 0,
          "image sides " + std::to_string(c.height) + "x" + std::to_string(c.width) + " must be divisible by 2^" +
              std::to_string(halvings) + ", one halving per entry of channel_mult after the first");
  require(c.imgResolution >> halvings >= 1, "img_resolution must be at least 2^(levels - 1)");
  double sum = 0;
  for (const float f : c.resampleFilter) sum += f;
  require(c.resampleFilter.size() >= 2 && c.resampleFilter.size() <= 8 && c.resampleFilter.size() % 2 == 0 &&
              std::isfinite(sum) && sum != 0,
          "resample_filter must have 2, 4, 6 or 8 finite taps whose sum is not 0");
  require(!c.labelMaps || c.labelDim > 0, "label_maps needs labels: set label_dim, or leave it out");
  for (const int m : c.channelMult) require(m >= 1 && m <= 64, "channel_mult entries must be from 1 to 64");
}

Ports build(const EdmUNetConfig& c, Parameters& p, Program& g, bool joint) {
  Builder b{c, p, g, {}};
  float sum = 0;
  for (const float f : c.resampleFilter) sum += f;
  for (const float f : c.resampleFilter) b.taps.push_back(f / sum);

  Ports ports;
  ports.input = g.variable(c.height, c.width, c.inChannels, true, true);
  b.embChannels = c.modelChannels * c.channelMultEmb;
  b.emb = noiseEmbedding(c, b, ports);

  const auto attends = [&](int resolution) {
    return std::find(c.attnResolutions.begin(), c.attnResolutions.end(), resolution) != c.attnResolutions.end();
  };
  const auto levelName = [&](const char* side, int resolution) {
    return std::string(side) + "." + std::to_string(resolution) + "x" + std::to_string(resolution) + "_";
  };
  const int levels = static_cast<int>(c.channelMult.size());

  std::vector<VarId> skips;
  VarId x = ports.input, aux = ports.input;
  for (int level = 0; level < levels; ++level) {
    const int resolution = c.imgResolution >> level, out = c.modelChannels * c.channelMult[level];
    const std::string name = levelName("enc", resolution);
    if (level == 0) {
      const VarId maps = c.labelMaps ? b.labelMaps(ports.labels, x, c.modelChannels) : kNone;
      x = b.conv(name + "conv", x, 3, c.adm ? out : c.modelChannels, 1.0, maps);
    } else {
      const int channels = g.var(x).channels;
      x = b.block(name + "down", x, channels, false, Updown::kDown);
      if (c.encoder == EdmUNetConfig::kSkip) {
        aux = b.updown(aux, Updown::kDown);
        x = b.conv(name + "aux_skip", aux, 1, channels, 1.0, x);
      } else if (c.encoder == EdmUNetConfig::kResidual) {
        x = aux = g.sum(x, b.fusedDown(name + "aux_residual", aux, channels), std::sqrt(0.5f));
      }
    }
    skips.push_back(x);
    for (int i = 0; i < c.numBlocks; ++i) {
      x = b.block(name + "block" + std::to_string(i), x, out, attends(resolution));
      skips.push_back(x);
    }
  }
  VarId image = kNone;     // what the decoder has painted so far
  VarId features = kNone;  // the last that it was painted from
  for (int level = levels - 1; level >= 0; --level) {
    const int resolution = c.imgResolution >> level, out = c.modelChannels * c.channelMult[level];
    const std::string name = levelName("dec", resolution);
    if (level == levels - 1) {
      x = b.block(name + "in0", x, g.var(x).channels, true);
      x = b.block(name + "in1", x, g.var(x).channels, false);
    } else {
      x = b.block(name + "up", x, g.var(x).channels, false, Updown::kUp);
    }
    for (int i = 0; i <= c.numBlocks; ++i) {
      x = b.block(name + "block" + std::to_string(i), g.concat(x, skips.back()), out,
                  (c.adm || i == c.numBlocks) && attends(resolution));
      skips.pop_back();
    }
    if (c.adm || (level > 0 && !c.skipDecoder)) continue;
    if (image != kNone) image = b.updown(image, Updown::kUp);
    features = b.norm(name + "aux_norm", x, true);
    image = b.conv(name + "aux_conv", features, 3, c.inChannels, b.nothing(), image);
  }
  if (c.adm) {
    features = b.norm("out_norm", x, true);
    image = b.conv("out_conv", features, 3, c.inChannels, b.nothing());
  }
  ports.output = image;
  if (joint) ports.energy = b.conv("energy_conv", features, 3, c.inChannels, b.nothing());
  return ports;
}

}  // namespace feynkac
