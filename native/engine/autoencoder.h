// Images to latents and back: diffusers' AutoencoderKL (Rombach et al. 2022). Thread-safe: one job at a time, others wait.
#pragma once

#include <memory>
#include <vector>

#include "engine/image_job.h"
#include "engine/networks.h"

namespace feynkac {

// Names are those of its arguments.
struct AutoencoderConfig : ImageLevels {
  int latentChannels;
  bool doubleZ;  // the encoder gives the logarithm of the latents' variance beside their mean
  bool quantConv, postQuantConv;
  bool midAttention;
};

void validate(const AutoencoderConfig& config);  // throws std::invalid_argument naming the setting that cannot be
SampleShape latentShape(const AutoencoderConfig& config);

// One step of least squares: mean of (decode(mean(x) + noise n) - x)^2; a sample's loss is its mean over the dimensions.
struct AutoencoderStep : TrainingStep {
  const float* x;  // [batch, channels, height, width]
  double noise;    // standard deviation of the noise on the latents
};

class Autoencoder : public Trainable {
 public:
  enum class Job { kEncode, kDecode, kTrain };

  Autoencoder(AutoencoderConfig config, MakeKernels makeKernels);
  ~Autoencoder();

  const AutoencoderConfig& config() const { return config_; }
  size_t imageSize() const { return config_.imageSize(); }
  size_t latentSize() const;

  // Host memory, channels first: mean and (where asked for) log variance of the latents of n images, in [-30, 20].
  void encode(int n, const float* x, float* mean, float* logVariance, const Stop& stop);
  void decode(int n, const float* latents, float* x, const Stop& stop);
  TrainResult train(const AutoencoderStep& step, const Stop& stop);
  // The step's loss; leaves its gradient in Slot::kGrad and the weights as they are.
  double gradient(const AutoencoderStep& step, const Stop& stop);

  size_t workingBytes(Job job, int batch);

 private:
  struct Run;

  Run& prepare(Job job, int batch);
  std::unique_ptr<Run> layOut(Job job, int batch);
  Pass passOf(const AutoencoderStep& step, const Stop& stop);
  void fetch(Run& run, float* to, Buffer from, const SampleShape& shape);

  const AutoencoderConfig config_;
  // what the encoder declares, which comes first
  Parameters encoderParameters_;
  std::vector<Program::Packing> encoderPackings_;
  Runs<Run> runs_;
};

}  // namespace feynkac
