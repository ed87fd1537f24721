// Every operation of a network, once, with its shapes and formula, by subject in operations/: the floor that the engine stands on.
//
// An operation is its arguments: outputs first, then inputs, then sizes. `arrays` names the arrays with their lengths and
// directions, so that whatever stages, fills, poisons or counts them needs to know no operation by name. A backend implements
// `run` for each in the lists (kernels.h). `each.reads` is of inputs, `each.writes` of outputs, `each.updates` of what is
// read and written, `each.packed` of weights as the backend arranges them, about so many floats. A pointer may be null where the
// contract says so.
//
// Pointers are memory of the backend (from `allocate`) unless a comment says "host"; calls are ordered: each sees the results of
// the ones before it. Images are channels last inside the engine: [batch, height, width, channels], float32, dense.
// "y (+)= f": overwrites when `accumulate` is false, adds when it is true. An overwritten output may hold anything before the
// call, NaN included. Results do not depend on the number of threads.
#pragma once

#include <type_traits>
#include <utility>

#include "kernels/common/operations/attention.h"
#include "kernels/common/operations/classification.h"
#include "kernels/common/operations/conv.h"
#include "kernels/common/operations/dropout.h"
#include "kernels/common/operations/elementwise.h"
#include "kernels/common/operations/norm.h"
#include "kernels/common/operations/optimizer.h"
#include "kernels/common/operations/resample.h"

namespace feynkac {

namespace op {

template <class Op, class = double>
struct HasProducts : std::false_type {};
template <class Op>
struct HasProducts<Op, decltype(std::declval<const Op&>().products())> : std::true_type {};
// Whether an operation has products, which the reduced precisions round the factors of.
template <class Op>
constexpr bool hasProducts = HasProducts<Op>::value;

}  // namespace op

// All of them, by the lists of the headers above: what a backend implements, and what is made for each (staged.h, counting.h).
#define FEYNKAC_OPERATIONS(DO)          \
  FEYNKAC_CONV_OPERATIONS(DO)           \
  FEYNKAC_NORM_OPERATIONS(DO)           \
  FEYNKAC_ATTENTION_OPERATIONS(DO)      \
  FEYNKAC_RESAMPLE_OPERATIONS(DO)       \
  FEYNKAC_ELEMENTWISE_OPERATIONS(DO)    \
  FEYNKAC_DROPOUT_OPERATIONS(DO)        \
  FEYNKAC_CLASSIFICATION_OPERATIONS(DO) \
  FEYNKAC_OPTIMIZER_OPERATIONS(DO)

}  // namespace feynkac
