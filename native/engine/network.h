// A network on a device: its parameters and the jobs it does (docs/concepts/engine.md). Thread-safe: one job at a time, others wait.
#pragma once

#include <memory>
#include <vector>

#include "engine/networks.h"
#include "engine/preconditioning.h"
#include "engine/trainable.h"

namespace feynkac {

// What h(u) is: a denoiser's raw output, or the trunk of an energy head Phi (docs/concepts/energies.md). Joint: both, of a network
// with two output layers: h_D and Phi = a <u, h_E> (docs/joint.md). Residual: E = ||x - D_h||^2 / (2 sigma^2), D_h the denoiser
// that h would be (docs/residual.md); its Phi is a function of sigma too.
enum class Kind { kDenoiser, kDot, kL2, kNorm, kJoint, kResidual };

struct Head {
  Kind kind;
  double scale;             // `a` of dot and joint
  double energyWeight = 1;  // of the energy's part of a joint loss
  op::LossForm loss = {};   // its weight is the step's
};

// Host memory. x is [n, ...shape] channels first; labels [n, labelDim] and augment [n, augmentDim] may be null (zeros).
struct Batch {
  int n;
  const float* x;
  const double* sigma;
  const float* labels;
  const float* augment;
};

// Host memory, each may be null; lib/native/addon.ts says what they are.
struct Outputs {
  float *raw, *denoised;
  double* phi;
  float* phiGrad;
  double* energy;
  float* grad;
  double* jvp;
  float* scoreGrad;
};

// The same on the device of the network and of `order`, whose stream makes x and reads these.
struct ResidentOutputs {
  float* denoised;
  double* energy;
  float* grad;
  int device;
  Context* order;
  float* scoreGrad = nullptr;
};

// The cross-entropy over noise levels of a training step (docs/levelled.md): sample b, row b of the step's x0, gets noise of
// sigma[truth[b], b], and the energies at all sigma[j, b] say which it was. Host memory; [levels, samples] but where it says [samples].
struct LevelStep {
  int levels, samples;
  double weight;  // of the mean cross-entropy in the loss
  const double* sigma;
  const int32_t* truth;  // [samples]
  const double* free;    // F, which the logits F - E have
  double* losses;        // [samples], filled: the cross-entropies
  double* residual;      // filled: their derivatives by F
};

// The path loss of a training step (docs/residual.md): row b of the step's x0 gets noise sigma[0, b] and walks to sigma[1, b], ...,
// sigma[steps, b]; the energies at its ends are to differ by what the teacher's kernels say, plus constant[b]. Host memory;
// [steps + 1, samples], [steps, samples, groups] or where it says [samples].
struct WalkStep {
  int steps, samples, groups;
  double weight;            // of the mean of 32 ln cosh(r / 4), which is r^2 for small r
  const double* sigma;      // increasing along a walk
  const double* constant;   // [samples]
  const double* share;      // [samples], 1, or 0 for a walk that only measures
  const double* variances;  // V of the data, by groups of coordinates, at the levels walked to
  const int32_t* group;     // [d], of a sample's values in the basis
  bool cosines;             // the basis: cosines of each channel, or the values themselves
  double* residual;         // [samples], filled: r
};

struct TrainStep {
  Head head;
  int batch, microBatch;
  const float* x0;
  const float* labels;
  double pMean, pStd;
  double sigmaMin, sigmaMax;  // noise levels beyond these become these
  float dropout;              // rate
  uint64_t seed;
  uint32_t step;
  OptimizerStep optimizer;
  double* losses;  // [batch], mean over the dimensions
  double* sigmas;  // [batch]
  const LevelStep* levels = nullptr;
  const WalkStep* walks = nullptr;  // with a teacher only
  // [batch] or null; with a teacher or targets only. Above 0: the row of x0 is no clean sample but a state at this noise, to be taken as it is.
  const double* states = nullptr;
  const float* targets =
      nullptr;  // [batch, ...shape] or null; without a teacher only: denoised samples in the place of x0
  const float* augment = nullptr;  // [batch, augmentDim] or null: what the network is told of how samples were changed
  Share share = {};
};

enum class Job { kForward, kGradient, kTangent, kTrain, kLevels, kWalks };

class Network : public Trainable {
 public:
  // `joint`: with the second output layer that Kind::kJoint takes. Of the other kinds it can be a denoiser.
  Network(NetworkConfig config, Preconditioning preconditioning, MakeKernels makeKernels, bool joint = false);
  ~Network();

  const NetworkConfig& config() const { return config_; }
  void requireKind(Kind kind) const;  // throws std::invalid_argument where the network cannot be one
  size_t sampleSize() const;

  void evaluate(const Head& head, const Batch& batch, const float* direction, const Outputs& out, const Stop& stop);
  // For a batch whose x lies on the device: nothing waits for the results.
  void evaluateResident(const Head& head, const Batch& batch, const ResidentOutputs& out, const Stop& stop);
  // Loss of one explicit batch against a denoised target, gradient left in Slot::kGrad.
  double gradient(const Head& head, const Batch& batch, const float* target, const Stop& stop);
  // One optimizer step: denoising score matching, or distillation when there is a teacher.
  TrainResult train(const TrainStep& step, Network* teacher, const Stop& stop);

  size_t workingBytes(Job job, Kind kind, int batch);

 private:
  struct Run;

  void written(const float* torch) override;
  Run& prepare(Job job, Kind kind, int batch, float dropout = 0, int levels = 1);
  std::unique_ptr<Run> layOut(Job job, Kind kind, int batch, float dropout, int levels);
  void evaluateHeld(const Head& head, const Batch& batch, const float* direction, const Outputs& out, const Stop& stop);
  void upload(Run& run, const Head& head, const double* sigma, const float* labels, const float* augment);
  void convert(Run& run, float* to, const std::vector<float>& a, const std::vector<float>& b, Buffer from);
  void forwardInto(float* target, Kernels& caller, const Head& head, int n, const float* x, const double* sigma,
                   const float* labels, const Stop& stop);
  void setTarget(Run& run, const Levels& levels);
  void classify(const TrainStep& step, int begin, int end, double* losses, double* residual, const Stop& stop);
  void walk(const TrainStep& step, int begin, int end, Network& teacher, const Stop& stop);
  void setLevelWeight(Run& run, double weight);
  void uploadEnergyTerms(Run& run, const Head& head, const Levels& levels, double scale, const double* share);
  static void setLoss(Run& run, const Head& head, double weight);
  void fetch(Run& run, float* to, const std::vector<float>& a, const std::vector<float>& b, Buffer from);

  const NetworkConfig config_;
  const Preconditioning preconditioning_;
  const bool joint_;
  NoiseEmbedding noise_;  // with the frequencies of a buffer, once that is written
  Runs<Run> runs_;
};

}  // namespace feynkac
