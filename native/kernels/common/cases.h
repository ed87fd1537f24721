// Named cases of the operations: one list that the self-test of a device, the comparison of backends and their timing run
// (test/operations_test.cpp). A case is an operation with its sizes; its arrays are made by what the operation says of them.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "kernels/common/kernels.h"

namespace feynkac {

struct OperationCase {
  std::string name;
  bool products;  // rounds factors in the reduced precisions
  bool quick;     // part of the self-test
  // Every output, array by array, of inputs that the case's name decides. `time` (may be empty) gets the call, ready to repeat.
  using Outputs = std::vector<std::vector<double>>;
  std::function<Outputs(Kernels& k, const std::function<void(const std::function<void()>&)>& time)> run;
};

// Convolutions in large tiles have enough of them for each multiprocessor, without which smaller ones are chosen.
std::vector<OperationCase> operationCases(int multiprocessors);

// The largest relative error of an array of outputs; infinite where a value is not finite.
double caseError(const OperationCase::Outputs& got, const OperationCase::Outputs& want);

}  // namespace feynkac
