// Network architectures: what each computes (docs/concepts/networks.md), as a list of layers. Adding one: a struct here, a builder
// file, an entry in networks.cpp.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "engine/layers.h"

namespace feynkac {

// NVlabs/edm's SongUNet (DDPM++, NCSN++) and DhariwalUNet (ADM); names are their arguments'. What only SongUNet has is
// fixed for ADM: noise channels as model channels, standard encoder and decoder, box filter.
struct EdmUNetConfig {
  bool adm;
  int imgResolution, height, width, inChannels;
  int labelDim, augmentDim;
  int modelChannels;
  std::vector<int> channelMult;
  int channelMultEmb, channelMultNoise, numBlocks;
  std::vector<int> attnResolutions;
  std::vector<float> resampleFilter;
  bool fourier;
  enum Encoder { kStandard, kSkip, kResidual } encoder;
  bool skipDecoder;
  bool labelMaps;  // not of NVlabs/edm: labels also as images, beside the first convolution
};

// diffusers' UNet2DModel; names are its arguments'.
struct DiffusersUNetConfig {
  int height, width, inChannels;
  std::vector<int> blockOutChannels;
  std::vector<int> downAttention, upAttention;  // whether block i of the way down or up attends
  int layersPerBlock;
  bool midBlock, midAttention;
  double midScaleFactor;
  enum Resampling { kConv, kResnet };  // the way down and up of the blocks that attend; of the others kConv
  Resampling downType, upType;
  int downPadding;        // 0: one pixel right and below, 1: around
  int headDim;            // 0: one head
  int groups, midGroups;  // of norms; midGroups: of the middle's attention, 0: none
  double eps;
  bool scaleShift;
  enum TimeEmbedding { kPositional, kFourier, kLearned } timeEmbedding;
  bool cosFirst;
  double freqShift;
  int timesteps;  // of the learned table
  int timeDim;
  enum ClassEmbedding { kNoClass, kTable, kIdentity, kTimestep } classEmbedding;  // kTimestep: as the time is embedded
  int classes;                                                                    // of the table
};

// Vectors: h = in(u); h += out_i(silu(in_i(silu(h)) + affine_i(emb))), i < layers; y = out(silu(h)).
struct ResidualMlpConfig {
  int dim, hidden, layers, labelDim, channelMultNoise;
};

using NetworkConfig = std::variant<EdmUNetConfig, DiffusersUNetConfig, ResidualMlpConfig>;

// The noise embedding [sin, cos](c_noise f), or [cos, sin].
struct NoiseEmbedding {
  std::vector<double> freqs;
  bool cosFirst = false;
  int buffer = -1;  // the parameter (index) that holds freqs / (2 pi) in place of those above
  int steps = 0;    // above 0: in place of it all the one-hot vector of c_noise, a whole number below this
};
NoiseEmbedding positional(int channels, double lessThanHalf,
                          bool cosFirst);  // f_i = 10000^(-i / (channels / 2 - less))

// The variables of a built program that the outside fills or reads.
struct Ports {
  VarId input, output;
  VarId energy = kNone;  // of a joint network: the output that its energy is made of, from the features of `output`
  VarId time;            // the noise embedding
  NoiseEmbedding noise;
  VarId labels = kNone;   // kNone without labels; the caller multiplies by labelScale
  VarId augment = kNone;  // kNone without augmentation labels
  float labelScale = 1;
  VarId classTime = kNone;  // the noise embedding of a label that is a number, in place of labels
};

// Samples are [channels, height, width]; vectors [dim, 1, 1].
struct SampleShape {
  int channels, height, width;
};
SampleShape sampleShape(const NetworkConfig& config);
int labelDim(const NetworkConfig& config);
int augmentDim(const NetworkConfig& config);

// Throws std::invalid_argument naming the setting that cannot be.
void validate(const NetworkConfig& config);

// Both walk the same builder: the first declares the parameters, the second lays the layers out for a batch. `joint`: with
// a second output layer, named energy_conv (energy_out for vectors), for networks that are denoiser and energy at once.
Ports build(const NetworkConfig& config, Parameters& parameters, Program& program, bool joint);

// Builders of the architectures (edm_unet.cpp, diffusers_unet.cpp, mlp.cpp).
Ports build(const EdmUNetConfig& config, Parameters& parameters, Program& program, bool joint);
Ports build(const DiffusersUNetConfig& config, Parameters& parameters, Program& program, bool joint);
Ports build(const ResidualMlpConfig& config, Parameters& parameters, Program& program, bool joint);
void validate(const EdmUNetConfig& config);
void validate(const DiffusersUNetConfig& config);
void validate(const ResidualMlpConfig& config);
void requireSetting(bool ok, const char* network, const std::string& what);

// map_noise's MLP of SongUNet: emb = silu(map_layer1(silu(map_layer0(time + map_label(labels) + map_augment(augment))))).
VarId songEmbedding(Parameters& parameters, Program& program, int noiseChannels, int embChannels, int labels,
                    int augment, Ports& ports);

}  // namespace feynkac
