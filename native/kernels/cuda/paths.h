// The builds of the kernels (gpu.cuh), and the choice between them at a device's first use.
#pragma once

#include <string>

#include "kernels/common/kernels.h"

namespace feynkac {

// `tensor` with convolutions of its own, by instructions that only compute capability 9.0 has.
namespace hopper {
bool offered(int device);  // whether the device and this build have them
Kernels* makeKernels(int device, Precision precision);
}  // namespace hopper
namespace tensor {
Kernels* makeKernels(int device, Precision precision);
}
namespace plain {
Kernels* makeKernels(int device, Precision precision);
}

// Small cases of every operation against the CPU backend; what failed first, empty if nothing did.
std::string selfTest(Kernels& cuda, Precision precision);

}  // namespace feynkac
