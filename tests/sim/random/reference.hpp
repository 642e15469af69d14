// SPDX-License-Identifier: MIT
// The multiplication that every result is compared with, by the index formulas of src/matrix and nothing of
// the simulator's, and the comparison.
//
// Integers have to be equal to the bit. For floats the documented order (fp32 within 32 consecutive k, fp64
// above) makes at most 31 roundings of 2^-24 in a group, so the total is within 2^-19 of the sum of the
// magnitudes |a*b|; the result may be anything between the two ends of that interval, each rounded to the
// type of C. One product out of K that is missing or wrong is visible as long as K is below 2^19.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "matrix/layout.hpp"
#include "sim/random/program.hpp"

namespace rknnsim_random {

struct Operation {
    int type = 0;
    size_t M = 0, K = 0, N = 0;
    const uint8_t* a = nullptr;
    const uint8_t* b = nullptr;
    int b_layout = 0;
    int ac_layout = 0;
    float scales[3] = {1, 1, 1};
    bool zero = false;  // a context that computes nothing
    Settings settings;
};

rknpu2::DType input_of(int type);
rknpu2::DType output_of(int type);

// An exact sum, and the sum of the magnitudes; row-major [M,N].
struct Sum {
    double value = 0;
    double magnitude = 0;
};
std::vector<Sum> multiply(const Operation& operation);

// Empty when the C that was computed (`got`, in the layout of the operation) is what `sums` allow; otherwise
// the first element that is not, with what was expected. Elements with a byte that is not 0 in `lost`, unless
// that is empty, may be anything.
std::string compare(const Operation& operation, const std::vector<Sum>& sums, const uint8_t* got,
                    const std::vector<uint8_t>& lost);

}  // namespace rknnsim_random
