// Residual MLP for vectors, conditioned on the noise level like the U-Net's blocks.
#include <cmath>
#include <string>

#include "engine/networks.h"

namespace feynkac {

void validate(const ResidualMlpConfig& c) {
  const auto require = [](bool ok, const char* what) { requireSetting(ok, "ResidualMLP", what); };
  require(c.dim >= 1 && c.dim <= 1 << 20, "dim must be from 1 to 1048576");
  require(c.hidden >= 4 && c.hidden <= 1 << 16, "hidden must be from 4 to 65536");
  require(c.layers >= 1 && c.layers <= 1000, "layers must be from 1 to 1000");
  require(c.labelDim >= 0 && c.labelDim <= 1 << 20, "label_dim must be from 0 to 1048576");
  require(c.channelMultNoise >= 1 && c.channelMultNoise <= 64, "channel_mult_noise must be from 1 to 64");
  require(c.hidden * c.channelMultNoise % 2 == 0,
          "hidden times channel_mult_noise must be even (sine and cosine halves)");
}

Ports build(const ResidualMlpConfig& c, Parameters& p, Program& g, bool joint) {
  const auto linear = [&](const std::string& name, VarId x, int in, int out, double gain, VarId residual = kNone) {
    const size_t w = p.linear(name + ".weight", in, out, xavierUniform(in, out, 1, gain));
    return g.conv(x, 1, out, w, p.vector(name + ".bias", out, {}), residual);
  };

  Ports ports;
  ports.input = g.variable(1, 1, c.dim, true, true);
  const int noiseChannels = c.hidden * c.channelMultNoise;
  ports.noise = positional(noiseChannels, 1, false);
  const VarId emb = songEmbedding(p, g, noiseChannels, c.hidden, c.labelDim, 0, ports);
  // Scaled by the fan-in alone: a few inputs spread over many units by Xavier's mean of both fans would leave SiLU where it is
  // all but linear, and a network that is linear at the start never leaves the Gaussian.
  VarId h = linear("in", ports.input, c.dim, c.hidden, std::sqrt((c.dim + c.hidden) / (2.0 * c.dim)));
  for (int i = 0; i < c.layers; ++i) {
    const std::string block = "block" + std::to_string(i);
    const VarId a = linear(block + ".in", g.silu(h), c.hidden, c.hidden, 1.0);
    const VarId e = linear(block + ".affine", emb, c.hidden, c.hidden, 1.0);
    h = linear(block + ".out", g.silu(a, e), c.hidden, c.hidden, 1e-5, h);
  }
  h = g.silu(h);
  ports.output = linear("out", h, c.hidden, c.dim, 1e-5);
  if (joint) ports.energy = linear("energy_out", h, c.hidden, c.dim, 1e-5);
  return ports;
}

}  // namespace feynkac
