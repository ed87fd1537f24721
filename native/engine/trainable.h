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
#include "ranks/device_sum.h"
#include "ranks/tree_sum.h"

namespace feynkac {

enum class Slot { kParams, kEma, kGrad, kM, kV };

struct OptimizerStep : AdamStep {
  // Momentum of Muon, which moves the weights of convolutions between many channels; 0: Adam moves all.
  double muon = 0;
};

// This process among those that share a step (ranks/communicator.h). All of them are given the whole step, do a run of its
// micro-batches each, and end with the same bits. Host memory.
struct Share {
  int rank = 0, size = 1;
  // The last of the arrays of n values becomes the sum of all processes' arrays, which are this one's nodes of the tree over
  // `leaves` terms (ranks/tree_sum.h).
  std::function<void(const std::vector<float*>& nodes, size_t leaves, size_t n)> sum;
  std::function<void(const double* own, double* all, const std::vector<size_t>& counts)>
      gather;  // counts: of each process
  // What does the same as `sum` with arrays of a device; null: they go by way of the host. All processes call it at the same time.
  std::function<DeviceSum*(Kernels&)> onDevice;
  size_t part = size_t{1} << 22;  // floats of a device's gradient that leave together, at least

  int begin(int n, int process) const {  // of its part of n things
    return static_cast<int>(partBegin(n, process, size));
  }
};

// How the samples of a step are cut: micro-batch k of `count` has samples begin(n, k) .. begin(n, k + 1) - 1 of n. This process
// does micro-batches first .. last - 1. Their gradients are added up by the tree over all micro-batches, whoever does them.
struct MicroBatches {
  int count, first, last;
  int begin(int n, int k) const { return static_cast<int>(partBegin(n, k, count)); }
};
// Equal micro-batches of at most `most` samples. Throws std::invalid_argument where there are fewer than processes.
MicroBatches microBatchesOf(int batch, int most, const Share& share);

// What the training steps of networks of images have in common. Host memory.
struct TrainingStep {
  int batch = 0, microBatch = 0;
  uint64_t seed = 0;
  uint32_t step = 0;
  OptimizerStep optimizer;
  double* losses = nullptr;  // [batch], filled
  Share share = {};
};

// Sums of the d terms of each sample become means; returns theirs.
double meanLoss(double* losses, int batch, double d);

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
  double* beginStep(int batch, const MicroBatches& cut, const Share& share);  // returns memory for `batch` losses
  // beginMicroBatch clears Slot::kGrad, which then takes the gradient of micro-batch k, to which runPasses adds last; foldMicroBatches
  // leaves the sum of all there. One alone is left as it is.
  void beginMicroBatch(int k);
  void runPasses(Program& program, const Stop& stop);
  void foldMicroBatches();
  // Per-sample values on the host, of which each process has those of its micro-batches.
  struct Values {
    double* data;
    int samples;
  };
  static void gather(const Share& share, const MicroBatches& cut, const std::vector<Values>& values);
  // The optimizer and the average; the norm of the gradient.
  double endStep(const OptimizerStep& optimizer);

  // pass(first, n) adds the gradient of n samples to Slot::kGrad and returns their losses in the device's memory, sums of the d
  // terms of a sample.
  using Pass = std::function<const double*(int first, int n)>;
  // One step, a micro-batch after the other, or this process's. Takes mutex_ itself.
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
  // Fills the step's losses, which become means over the d numbers of a sample; returns their mean.
  double passes(const TrainingStep& step, double d, const Pass& pass, const Stop& stop);
  void addYoungest();
  void fold(Kernels& kernels, size_t kept, const FloatRange& range);

  MakeKernels makeKernels_;
  std::atomic<size_t> bytesHeld_{0};
  std::array<std::unique_ptr<Memory>, 5> slots_;
  std::unique_ptr<Memory> packed_, arena_, sumSquares_, losses_, exchange_;
  // Sums of gradients that wait for others, of micro-batches first .. last - 1 before those in Slot::kGrad
  struct Waiting {
    TreeNode node;
    std::unique_ptr<Memory> sum;
  };
  std::vector<Waiting> waiting_;
  std::vector<std::unique_ptr<Memory>> spare_;  // kept: as many as the step with the most micro-batches had waiting
  std::vector<std::vector<float>> onHost_;      // the sums of a device, on their way through the host
  TreeNode node_ = {0, 0};                      // in Slot::kGrad
  MicroBatches cut_ = {};                       // of the step
  Share share_;
  // On a device parts of the gradient leave on a stream of their own while the last passes go on.
  std::unique_ptr<Kernels> link_;
  DeviceSum* direct_ = nullptr;
  struct Departure {
    const GradientPart* part;
    std::unique_ptr<Kernels::Mark> mark;
  };
  std::vector<Departure> departures_;
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
