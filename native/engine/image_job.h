// What the jobs of networks of images that know no noise levels have in common.
#pragma once

#include "engine/trainable.h"

namespace feynkac {

// What their configurations have in common: levels of residual blocks, of which each has half the sides of the one before.
struct ImageLevels {
  int channels, height, width;  // of the images
  std::vector<int> blockOutChannels;
  int layersPerBlock;
  int groups;  // of norms

  size_t imageSize() const { return size_t(channels) * height * width; }
};
void validate(const ImageLevels& levels, const char* network);  // throws std::invalid_argument naming what cannot be

// A job laid out for a batch size.
struct ImageJob {
  ImageJob(int n, const Weights* weights) : batch(n), program(n, weights) {}
  const int batch;
  Program program;
  Parameters declared;                // the builder's copy; the network's own is the one in use
  Buffer from = kNone, ones = kNone;  // filled before a run: images channels first; a number per sample
  float lossWeight = 0.0f;            // of a training step

  // The variable becomes what `from` holds.
  void takeInput(VarId in);
  // Before the first run on an arena.
  void fillOnes(Kernels& k);
  void setLossWeight(double weight);
};

}  // namespace feynkac
