// Network architectures: what each computes (networks.md), as a list of layers. Adding one: a struct here, a builder
// file, a case in `build`.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "engine/layers.h"

namespace feynkac {

// NVlabs/edm's SongUNet in its DDPM++ form; names are its arguments'.
struct SongUNetConfig {
  int imgResolution, height, width, inChannels, outChannels;
  int labelDim, augmentDim;
  int modelChannels;
  std::vector<int> channelMult;
  int channelMultEmb, channelMultNoise, numBlocks;
  std::vector<int> attnResolutions;
  std::vector<float> resampleFilter;
};

// Vectors: h = in(u); h += out_i(silu(in_i(silu(h)) + affine_i(emb))), i < layers; y = out(silu(h)).
struct ResidualMlpConfig {
  int dim, hidden, layers, labelDim, channelMultNoise;
};

using NetworkConfig = std::variant<SongUNetConfig, ResidualMlpConfig>;

// The variables of a built program that the outside fills or reads.
struct Ports {
  VarId input, output;
  VarId time;     // the noise embedding of c_noise, filled by noiseEmbedding
  VarId labels;   // kNone without labels; the caller multiplies by labelScale
  VarId augment;  // kNone without augmentation labels
  float labelScale;
};

int channelsIn(const NetworkConfig& config);
int pixels(const NetworkConfig& config);
int labelDim(const NetworkConfig& config);
int augmentDim(const NetworkConfig& config);

// Throws std::invalid_argument naming the setting that cannot be.
void validate(const NetworkConfig& config);

// Both walk the same builder: the first declares the parameters, the second lays the layers out for a batch.
Ports build(const NetworkConfig& config, Parameters& parameters, Program& program);

// Builders of the architectures (unet.cpp, mlp.cpp).
Ports buildSongUNet(const SongUNetConfig& config, Parameters& parameters, Program& program);
Ports buildResidualMlp(const ResidualMlpConfig& config, Parameters& parameters, Program& program);
void validateSongUNet(const SongUNetConfig& config);
void validateResidualMlp(const ResidualMlpConfig& config);

// map_noise's MLP: emb = silu(map_layer1(silu(map_layer0(time + map_label(labels) + map_augment(augment))))).
VarId embedding(Parameters& parameters, Program& program, int noiseChannels, int embChannels, int labels, int augment,
                Ports& ports);

}  // namespace feynkac
