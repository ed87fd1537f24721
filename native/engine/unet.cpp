// SongUNet in its DDPM++ form (Song et al. 2021 as NVlabs/edm has it): positional embedding, standard encoder and
// decoder, one attention head. Parameter names and their order are those of the reference's state dict.
#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "engine/networks.h"

namespace feynkac {
namespace {

constexpr float kEps = 1e-6f;
const float kSkipScale = std::sqrt(0.5f);

int groupsFor(int channels) { return std::min(32, channels / 4); }  // EDM's rule; it must divide the channels

enum class Resample { kNone, kUp, kDown };

struct Builder {
  const SongUNetConfig& config;
  Parameters& p;
  Program& g;
  std::vector<float> taps;
  VarId emb = kNone;
  int embChannels = 0;

  VarId conv(const std::string& name, VarId x, int kernel, int in, int out, double gain = 1.0, VarId residual = kNone,
             float scale = 1.0f) {
    const size_t w = p.conv(name + ".weight", kernel, in, out, gain);
    return g.conv(x, kernel, out, w, p.vector(name + ".bias", out, 0.0), residual, scale);
  }
  VarId norm(const std::string& name, VarId x, VarId e, int channels, bool silu) {
    const int groups = groupsFor(channels);
    if (groups < 1 || channels % groups != 0)
      throw std::invalid_argument(
          "SongUNet: the " + std::to_string(channels) + " channels of " + name +
          " do not divide into min(32, channels / 4) groups: change model_channels or channel_mult");
    const size_t gamma = p.vector(name + ".weight", channels, 1.0);
    return g.norm(x, e, groups, kEps, silu, gamma, p.vector(name + ".bias", channels, 0.0));
  }
  VarId resample(VarId x, Resample how) {
    return how == Resample::kNone ? x : g.resample(x, how == Resample::kUp, taps);
  }

  // UNetBlock: x = (conv1(silu(norm1(conv0(resample(silu(norm0 x))) + affine(emb)))) + skip(x)) / sqrt 2, then
  // attention.
  VarId block(const std::string& name, VarId x, int in, int out, bool attention, Resample how = Resample::kNone) {
    VarId h = norm(name + ".norm0", x, kNone, in, true);
    h = conv(name + ".conv0", resample(h, how), 3, in, out);
    const size_t w = p.conv(name + ".affine.weight", 1, embChannels, out, 1.0, true);
    const VarId e = g.conv(emb, 1, out, w, p.vector(name + ".affine.bias", out, 0.0));
    h = norm(name + ".norm1", h, e, out, true);
    // conv1 comes before skip in the state dict; its parameters are declared first, its layer after the residual it
    // adds
    const size_t w1 = p.conv(name + ".conv1.weight", 3, out, out, 1e-5), b1 = p.vector(name + ".conv1.bias", out, 0.0);
    VarId residual = x;
    if (in != out || how != Resample::kNone) residual = conv(name + ".skip", resample(x, how), 1, in, out);
    x = g.conv(h, 3, out, w1, b1, residual, kSkipScale);
    if (!attention) return x;
    h = norm(name + ".norm2", x, kNone, out, false);
    const size_t wq = p.qkv(name + ".qkv.weight", out, 1, std::sqrt(0.2));
    h = g.conv(h, 1, 3 * out, wq, p.qkvBias(name + ".qkv.bias", out, 1));
    return conv(name + ".proj", g.attention(h, 1), 1, out, out, 1e-5, x, kSkipScale);
  }
};

}  // namespace

void validateSongUNet(const SongUNetConfig& c) {
  const auto require = [](bool ok, const std::string& what) {
    if (!ok) throw std::invalid_argument("SongUNet: " + what);
  };
  require(c.inChannels >= 1 && c.inChannels <= 4096, "in_channels must be from 1 to 4096");
  require(c.outChannels == c.inChannels, "out_channels must equal in_channels, as for a denoiser");
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
  for (const int m : c.channelMult) require(m >= 1 && m <= 64, "channel_mult entries must be from 1 to 64");
}

Ports buildSongUNet(const SongUNetConfig& c, Parameters& p, Program& g) {
  Builder b{c, p, g, {}};
  float sum = 0;
  for (const float f : c.resampleFilter) sum += f;
  for (const float f : c.resampleFilter) b.taps.push_back(f / sum);

  Ports ports;
  ports.input = g.variable(c.height, c.width, c.inChannels, true, true);
  b.embChannels = c.modelChannels * c.channelMultEmb;
  b.emb = embedding(p, g, c.modelChannels * c.channelMultNoise, b.embChannels, c.labelDim, c.augmentDim, ports);

  const auto attends = [&](int resolution) {
    return std::find(c.attnResolutions.begin(), c.attnResolutions.end(), resolution) != c.attnResolutions.end();
  };
  const auto levelName = [&](const char* side, int resolution) {
    return std::string(side) + "." + std::to_string(resolution) + "x" + std::to_string(resolution) + "_";
  };
  const int levels = static_cast<int>(c.channelMult.size());

  struct Skip {
    VarId x;
    int channels;
  };
  std::vector<Skip> skips;
  VarId x = ports.input;
  int channels = c.inChannels;
  for (int level = 0; level < levels; ++level) {
    const int resolution = c.imgResolution >> level;
    const std::string name = levelName("enc", resolution);
    if (level == 0) {
      x = b.conv(name + "conv", x, 3, channels, c.modelChannels);
      channels = c.modelChannels;
    } else {
      x = b.block(name + "down", x, channels, channels, false, Resample::kDown);
    }
    skips.push_back({x, channels});
    for (int i = 0; i < c.numBlocks; ++i) {
      const int out = c.modelChannels * c.channelMult[level];
      x = b.block(name + "block" + std::to_string(i), x, channels, out, attends(resolution));
      channels = out;
      skips.push_back({x, channels});
    }
  }
  for (int level = levels - 1; level >= 0; --level) {
    const int resolution = c.imgResolution >> level;
    const std::string name = levelName("dec", resolution);
    if (level == levels - 1) {
      x = b.block(name + "in0", x, channels, channels, true);
      x = b.block(name + "in1", x, channels, channels, false);
    } else {
      x = b.block(name + "up", x, channels, channels, false, Resample::kUp);
    }
    for (int i = 0; i <= c.numBlocks; ++i) {
      const Skip skip = skips.back();
      skips.pop_back();
      const int out = c.modelChannels * c.channelMult[level];
      x = b.block(name + "block" + std::to_string(i), g.concat(x, skip.x), channels + skip.channels, out,
                  i == c.numBlocks && attends(resolution));
      channels = out;
    }
  }
  const std::string last = levelName("dec", c.imgResolution);
  x = b.norm(last + "aux_norm", x, kNone, channels, true);
  ports.output = b.conv(last + "aux_conv", x, 3, channels, c.outChannels, 1e-5);
  return ports;
}

}  // namespace feynkac
