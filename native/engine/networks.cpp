#include "engine/networks.h"

#include <cmath>
#include <stdexcept>

namespace feynkac {
namespace {
const SongUNetConfig* unet(const NetworkConfig& c) { return std::get_if<SongUNetConfig>(&c); }
const ResidualMlpConfig& mlp(const NetworkConfig& c) { return std::get<ResidualMlpConfig>(c); }
}  // namespace

int channelsIn(const NetworkConfig& c) { return unet(c) ? unet(c)->inChannels : mlp(c).dim; }
int pixels(const NetworkConfig& c) { return unet(c) ? unet(c)->height * unet(c)->width : 1; }
int labelDim(const NetworkConfig& c) { return unet(c) ? unet(c)->labelDim : mlp(c).labelDim; }
int augmentDim(const NetworkConfig& c) { return unet(c) ? unet(c)->augmentDim : 0; }

void validate(const NetworkConfig& c) { unet(c) ? validateSongUNet(*unet(c)) : validateResidualMlp(mlp(c)); }

Ports build(const NetworkConfig& c, Parameters& parameters, Program& program) {
  return unet(c) ? buildSongUNet(*unet(c), parameters, program) : buildResidualMlp(mlp(c), parameters, program);
}

VarId embedding(Parameters& p, Program& g, int noiseChannels, int embChannels, int labels, int augment, Ports& ports) {
  ports.time = g.variable(1, 1, noiseChannels, false, true);
  ports.labels = ports.augment = kNone;
  ports.labelScale = 1.0f;
  VarId emb = ports.time;
  if (labels > 0) {
    ports.labels = g.variable(1, 1, labels, false, true);
    ports.labelScale = std::sqrt(static_cast<float>(labels));
    const size_t w = p.conv("map_label.weight", 1, labels, noiseChannels, 1.0, true);
    emb = g.conv(ports.labels, 1, noiseChannels, w, p.vector("map_label.bias", noiseChannels, 0.0), emb);
  }
  if (augment > 0) {
    ports.augment = g.variable(1, 1, augment, false, true);
    const size_t w = p.conv("map_augment.weight", 1, augment, noiseChannels, 1.0, true);
    emb = g.conv(ports.augment, 1, noiseChannels, w, Program::kNoParameter, emb);
  }
  int in = noiseChannels;
  for (const char* name : {"map_layer0", "map_layer1"}) {
    const std::string layer = name;
    const size_t w = p.conv(layer + ".weight", 1, in, embChannels, 1.0, true);
    emb = g.conv(emb, 1, embChannels, w, p.vector(layer + ".bias", embChannels, 0.0));
    emb = g.norm(emb, kNone, 0, 0.0f, true, Program::kNoParameter, Program::kNoParameter);
    in = embChannels;
  }
  return emb;
}

}  // namespace feynkac
