// What every network has on a device: its weights, their average, gradient and moments, and memory. Networks derive from it.
#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <vector>

#include "engine/layers.h"
#include "engine/parameters.h"
#include "engine/plan.h"

namespace feynkac {

enum class Slot { kParams, kEma, kGrad, kM, kV };

struct OptimizerStep : AdamStep {
  double muon =
      0;  // momentum of Muon, which moves the weights of convolutions between many channels; 0: Adam moves all
};

// What the training steps of networks of images have in common. Host memory.
struct TrainingStep {
  int batch, microBatch;
  uint64_t seed;
  uint32_t step;
  OptimizerStep optimizer;
  double* losses;  // [batch], filled
};

struct TrainResult {
  double loss, gradNorm;
  double energyLoss = 0;  // the energy's part of a joint loss, without its weight
};

class Trainable {
 public:
  // Called at the first job: a device takes its time to start, and that is not the caller's.
  using MakeKernels = std::function<std::unique_ptr<Kernels>()>;

  const Parameters& parameters() const { return parameters_; }
  // All in torch layout, one tensor after the other.
  void write(Slot slot, const float* torch);
  void read(Slot slot, float* torch);
  void initialise(uint64_t seed);
  size_t bytesHeld() const { return bytesHeld_; }  // memory of the device, now

  struct Convolution {
    ConvShape shape;
    Kernels::ConvAlgorithms algorithms;
    size_t packedBytes;  // of its weights, for both directions
  };
  std::vector<Convolution> convolutions(int batch);  // in program order

 protected:
  class Memory;

  explicit Trainable(MakeKernels makeKernels);
  ~Trainable();

  // All of the following under mutex_.
  // Before every job: allocates and packs what is not yet, so that neither making a network nor giving it weights costs that.
  void makeReady();
  void allocateWeights();
  float* slot(Slot s);
  virtual void written(const float* /*torch*/) {}  // the weights, before they are packed
  std::unique_ptr<Memory> hold(size_t bytes);
  // Gives a program the memory of its plan, which is one for all plans, for they do not run at the same time, and the weights
  // that its passes read.
  void equip(Program& program);

  // A training step: what comes before the passes, and what follows them.
  double* beginStep(int batch);  // clears the gradient; returns memory for the losses of the samples
  // The optimizer and the average; `losses` are downloaded and become means over the d numbers of a sample.
  TrainResult endStep(const OptimizerStep& optimizer, int batch, double d, double* losses);

  // pass(first, n) adds the gradient of n samples to Slot::kGrad and returns their losses in the device's memory, sums of the d
  // terms of a sample.
  using Pass = std::function<const double*(int first, int n)>;
  // One step, a micro-batch after the other. Takes mutex_ itself.
  TrainResult trainStep(const TrainingStep& step, double d, const Pass& pass, const Stop& stop);
  // The step's loss; leaves its gradient in Slot::kGrad and the weights as they are. Takes mutex_ itself.
  double lossOfStep(const TrainingStep& step, double d, const Pass& pass, const Stop& stop);

  Parameters parameters_;                   // filled by the network's constructor, as are packings_
  std::vector<Program::Packing> packings_;  // of all its convolutions
  std::unique_ptr<Kernels> kernels_;        // null until the first job
  Weights weights_;
  std::mutex mutex_;

 private:
  void update(const OptimizerStep& step, const double* sumsq);
  void passes(const TrainingStep& step, const Pass& pass, const Stop& stop);
  double downloadLosses(double* losses, int batch, double d);  // as endStep; their mean

  MakeKernels makeKernels_;
  std::atomic<size_t> bytesHeld_{0};
  std::array<std::unique_ptr<Memory>, 5> slots_;
  std::unique_ptr<Memory> packed_, arena_, sumSquares_, losses_;
  Plan packing_;                // of all convolutions
  bool isPacked_ = false;       // the parameters as they are now
  bool packsForGrads_ = false;  // from the first program on that has gradients of data
};

// Memory of the network's device.
class Trainable::Memory {
 public:
  Memory(Kernels& kernels, size_t bytes, std::atomic<size_t>& held)
      : kernels_(kernels), bytes_(bytes), data_(kernels.allocate(bytes)), held_(held) {
    held_ += bytes;
  }
  ~Memory() {
    kernels_.release(data_);
    held_ -= bytes_;
  }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  void* data() { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  Kernels& kernels_;
  size_t bytes_;
  void* data_;
  std::atomic<size_t>& held_;
};

// The jobs of a network that were laid out last, most recently used first.
template <class Run>
class Runs {
 public:
  // The one that `fits`, or else a new one.
  template <class Fits, class LayOut>
  Run& find(const Fits& fits, const LayOut& layOut) {
    auto found = runs_.begin();
    while (found != runs_.end() && !fits(**found)) ++found;
    if (found == runs_.end()) {
      if (runs_.size() >= kKept) runs_.pop_back();
      runs_.push_front(layOut());
    } else {
      runs_.splice(runs_.begin(), runs_, found);
    }
    return *runs_.front();
  }

 private:
  static constexpr size_t kKept = 6;
  std::list<std::unique_ptr<Run>> runs_;
};

}  // namespace feynkac
