// SPDX-License-Identifier: MIT
// The inner loops of the avx2 tier; only to be called where the CPU has AVX2, FMA and F16C.
#pragma once

#include "core/kernels/blocked.hpp"

namespace rknnsim {

extern const IntKernels kAvx2Ints;
extern const FloatKernels kAvx2Floats;

}  // namespace rknnsim
