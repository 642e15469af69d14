// SPDX-License-Identifier: MIT
// Rows of a weight in four bits.
//
// A row has a scale and a zero point: w[k] is about scale * (code[k] - zero), code in -8..7. Each row's grid is
// searched: as wide as the row first, then narrower, which clips its largest weights and makes the steps finer.
//
// Rounding each weight by itself is poor with so few steps. With second moments of the activations
// (calibration/second_moments.hpp) the error is fed back (GPTQ: Frantar et al., 2022): weights are rounded one
// after the other, and what one was off is put into those of its block that are still to come, by as much as
// their activations move with its own. What counts is the weighted error e^T M e, M the damped moments: what the
// row's results are off in the mean square. It is never above that of plain rounding on the best grid, which is
// kept for a row that feedback would make worse.
//
// A row depends on nothing but itself and the moments, so threads may share the rows of a weight, and the codes are
// the same for any number of them. Rows are those of one segment, rotated and mixed.
#pragma once

#include <cstdint>
#include <vector>

#include "calibration/second_moments.hpp"

namespace rknpu2 {

inline constexpr int kLeastCode = -8;
inline constexpr int kMostCode = 7;

// w[n][k] is about scale[n] * (codes[n * K + k] - zero[n]). A row that is not finite, or whose width is not, has
// codes 0, scale NaN and zero 0; a row of zeros has scale 0. Rows should be near (kernels/far.hpp).
struct FourBitRows {
    size_t N = 0;
    size_t K = 0;
    std::vector<int8_t> codes;  // [N][K], -8..7, one a byte
    std::vector<float> scale;   // [N]
    std::vector<float> zero;    // [N]
};

// What the moments of one segment say, in the form that rounding needs. Made once for a weight, or for several with
// the same activations; never changes, so threads may share it.
class ErrorFeedback {
  public:
    // segment: which one of the moments'.
    ErrorFeedback(const SecondMoments& moments, size_t segment);

    struct Block {
        size_t first;  // channel
        size_t size;
        // [size][size], damped: the diagonal, and above it twice what stands there, once for both of a pair.
        std::vector<float> moments;
        // [size][size]: row i is the upper Cholesky factor's of the inverse, divided by its diagonal, without it: what
        // is taken off the channels after i for an error of 1 in channel i.
        std::vector<float> passed_on;
        // [size]: an error's weight after what is passed on: 1 / the square of the factor's diagonal.
        std::vector<float> weight;
    };
    size_t K() const { return K_; }  // padded
    const std::vector<Block>& blocks() const { return blocks_; }

    // e^T M e of K numbers.
    double weighted_error(const float* errors) const;

  private:
    size_t K_;
    std::vector<Block> blocks_;
};

// Rounds `count` rows of K floats, one after the other in memory. feedback: of this K, or null for plain rounding,
// whose grid has the least squared error.
FourBitRows round_to_four_bits(const float* rows, size_t count, size_t K, const ErrorFeedback* feedback);

}  // namespace rknpu2
