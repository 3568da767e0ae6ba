#pragma once

// Product: a matrix product out = w · x, one of those that share their x.

#include "quant/base/matrix_view.h"
#include "quant/base/tensor_view.h"

namespace greenroom {

struct Product {
    MatrixView out;
    TensorView w;
};

}  // namespace greenroom
