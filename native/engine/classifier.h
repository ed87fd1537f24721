// Convolutional classifiers of images by one attribute or several. Thread-safe: one job at a time, others wait.
#pragma once

#include <memory>
#include <vector>

#include "engine/image_job.h"

namespace feynkac {

// A convolution, levels of residual blocks, the mean over the pixels, which are the features, and a linear layer.
struct ClassifierConfig : ImageLevels {
  std::vector<int> classes;  // of each attribute; the logits are theirs one after the other
};

void validate(const ClassifierConfig& config);  // throws std::invalid_argument naming the setting that cannot be

// One step of cross-entropy, mean over all attributes of all samples that have a class; a sample's loss is the sum over its own,
// divided by their mean number.
struct ClassifierStep : TrainingStep {
  const float* x;       // [batch, channels, height, width]
  const float* labels;  // [batch, classes of all attributes]: one-hot vectors, zeros for unknown classes
  double noise;  // largest standard deviation of the noise on the images; that of an image is uniform between 0 and it
};

class Classifier : public Trainable {
 public:
  enum class Job { kClassify, kTrain };

  Classifier(ClassifierConfig config, MakeKernels makeKernels);
  ~Classifier();

  const ClassifierConfig& config() const { return config_; }
  int featureSize() const { return config_.blockOutChannels.back(); }
  int labelSize() const;  // classes of all attributes

  // Host memory: features [n, featureSize] and logits [n, labelSize] of n images, channels first. Either may be null.
  void classify(int n, const float* x, float* features, float* logits, const Stop& stop);
  TrainResult train(const ClassifierStep& step, const Stop& stop);
  // The step's loss; leaves its gradient in Slot::kGrad and the weights as they are.
  double gradient(const ClassifierStep& step, const Stop& stop);

  size_t workingBytes(Job job, int batch);

 private:
  struct Run;

  Run& prepare(Job job, int batch);
  std::unique_ptr<Run> layOut(Job job, int batch);
  Pass passOf(const ClassifierStep& step, double known, const Stop& stop);

  const ClassifierConfig config_;
  std::vector<int32_t> offsets_;  // of the attributes' logits, and of their end
  Runs<Run> runs_;
};

}  // namespace feynkac
