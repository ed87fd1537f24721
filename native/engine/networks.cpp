#include "engine/networks.h"

#include <cmath>
#include <stdexcept>

namespace feynkac {
namespace {

SampleShape shapeOf(const EdmUNetConfig& c) { return {c.inChannels, c.height, c.width}; }
SampleShape shapeOf(const DiffusersUNetConfig& c) { return {c.inChannels, c.height, c.width}; }
SampleShape shapeOf(const ResidualMlpConfig& c) { return {c.dim, 1, 1}; }

int labelsOf(const EdmUNetConfig& c) { return c.labelDim; }
int labelsOf(const DiffusersUNetConfig& c) {
  if (c.classEmbedding == DiffusersUNetConfig::kIdentity) return c.timeDim;
  if (c.classEmbedding == DiffusersUNetConfig::kTimestep) return 1;
  return c.classEmbedding == DiffusersUNetConfig::kTable ? c.classes : 0;
}
int labelsOf(const ResidualMlpConfig& c) { return c.labelDim; }

}  // namespace

SampleShape sampleShape(const NetworkConfig& config) {
  return std::visit([](const auto& c) { return shapeOf(c); }, config);
}
int labelDim(const NetworkConfig& config) {
  return std::visit([](const auto& c) { return labelsOf(c); }, config);
}
int augmentDim(const NetworkConfig& config) {
  const auto* edm = std::get_if<EdmUNetConfig>(&config);
  return edm != nullptr ? edm->augmentDim : 0;
}
void validate(const NetworkConfig& config) {
  std::visit([](const auto& c) { validate(c); }, config);
}
Ports build(const NetworkConfig& config, Parameters& parameters, Program& program, bool joint) {
  return std::visit([&](const auto& c) { return build(c, parameters, program, joint); }, config);
}

void requireSetting(bool ok, const char* network, const std::string& what) {
  if (!ok) throw std::invalid_argument(std::string(network) + ": " + what);
}

NoiseEmbedding positional(int channels, double lessThanHalf, bool cosFirst) {
  NoiseEmbedding e;
  e.cosFirst = cosFirst;
  const int half = channels / 2;
  for (int i = 0; i < half; ++i) e.freqs.push_back(std::pow(10000.0, -i / (half - lessThanHalf)));
  return e;
}

VarId songEmbedding(Parameters& p, Program& g, int noiseChannels, int embChannels, int labels, int augment,
                    Ports& ports) {
  constexpr size_t none = Program::kNoParameter;
  ports.time = g.variable(1, 1, noiseChannels, false, true);
  VarId emb = ports.time;
  if (labels > 0) {
    ports.labels = g.variable(1, 1, labels, false, true);
    ports.labelScale = std::sqrt(static_cast<float>(labels));
    const size_t w = p.linear("map_label.weight", labels, noiseChannels, xavierUniform(labels, noiseChannels, 1));
    emb = g.conv(ports.labels, 1, noiseChannels, w, p.vector("map_label.bias", noiseChannels, {}), emb);
  }
  if (augment > 0) {
    ports.augment = g.variable(1, 1, augment, false, true);
    const size_t w = p.linear("map_augment.weight", augment, noiseChannels, xavierUniform(augment, noiseChannels, 1));
    emb = g.conv(ports.augment, 1, noiseChannels, w, none, emb);
  }
  int in = noiseChannels;
  for (const char* name : {"map_layer0", "map_layer1"}) {
    const std::string layer = name;
    const size_t w = p.linear(layer + ".weight", in, embChannels, xavierUniform(in, embChannels, 1));
    emb = g.silu(g.conv(emb, 1, embChannels, w, p.vector(layer + ".bias", embChannels, {})));
    in = embChannels;
  }
  return emb;
}

}  // namespace feynkac
