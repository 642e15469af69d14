// SPDX-License-Identifier: MIT
#include "weights/four_bits.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "kernels/quantise.hpp"

namespace rknpu2 {
namespace {

constexpr size_t kBlock = kMomentBlock;
constexpr size_t kSquare = kBlock * kBlock;
constexpr size_t kLane = 16;  // channels that an error is passed on to at a time
using Square = std::vector<double>;

// What is added to the diagonal, in parts of its mean: moments of few rows are not to be trusted to the last.
constexpr double kDamping = 0.01;

// Grids that are tried: this part of the row's width, from the whole of it in steps.
constexpr float kWidthStep = 0.025F;
constexpr int kWidths = 24;
// With feedback, by steps from the grid of the least squared error. What is passed on makes rows wider.
constexpr std::array<int, 6> kFeedbackSteps = {-4, -2, 0, 2, 4, 6};

// Makes the upper triangular u of h = u u^T, from the last column to the first. False: h is not positive definite.
bool factorise(const Square& h, size_t n, Square& u) {
    std::fill(u.begin(), u.end(), 0.0);
    for (size_t j = n; j-- > 0;) {
        for (size_t i = j + 1; i-- > 0;) {
            double sum = h[i * kBlock + j];
            for (size_t k = j + 1; k < n; ++k)
                sum -= u[i * kBlock + k] * u[j * kBlock + k];
            if (i == j && !(sum > 0)) return false;
            u[i * kBlock + j] = i == j ? std::sqrt(sum) : sum / u[j * kBlock + j];
        }
    }
    return true;
}

// The inverse of an upper triangular matrix, which is one, too.
Square inverse(const Square& u, size_t n) {
    Square inverted(kSquare);
    for (size_t j = 0; j < n; ++j) {
        inverted[j * kBlock + j] = 1 / u[j * kBlock + j];
        for (size_t i = j; i-- > 0;) {
            double sum = 0;
            for (size_t k = i + 1; k <= j; ++k)
                sum += u[i * kBlock + k] * inverted[k * kBlock + j];
            inverted[i * kBlock + j] = -sum / u[i * kBlock + i];
        }
    }
    return inverted;
}

// Adds `damping` to the diagonal, more of it when that is not enough: the moments come from a file.
Square factor_of(Square& h, size_t n, double damping) {
    Square u(kSquare);
    for (;; damping *= 10) {
        for (size_t i = 0; i < n; ++i)
            h[i * kBlock + i] += damping;
        if (factorise(h, n, u)) return u;
    }
}

double mean_of_diagonal(const float* triangles, size_t K) {
    double sum = 0;
    for (size_t b = 0; b < moment_blocks(K); ++b)
        for (size_t left = moment_block_size(K, b); left > 0; triangles += left--)
            sum += *triangles;
    return sum / static_cast<double>(K);
}

// `triangle`: in units of which the diagonal's mean is about 1 over all blocks.
ErrorFeedback::Block make_block(const float* triangle, size_t first, size_t n, double unit) {
    Square h(kSquare);
    double diagonal = 0;
    for (size_t i = 0; i < n; ++i) {
        for (size_t j = i; j < n; ++j)
            h[i * kBlock + j] = h[j * kBlock + i] = static_cast<double>(*triangle++) / unit;
        diagonal += h[i * kBlock + i];
    }
    constexpr double kLeast = 1e-6;  // of a block that was (almost) never active
    const Square u = factor_of(h, n, kDamping * std::max(diagonal / static_cast<double>(n), kLeast));
    const Square inverted = inverse(u, n);
    ErrorFeedback::Block block{first, n, std::vector<float>(kSquare), std::vector<float>(kSquare),
                               std::vector<float>(kBlock)};
    for (size_t i = 0; i < n; ++i) {
        const double own = inverted[i * kBlock + i];
        block.weight[i] = static_cast<float>(1 / (own * own));
        for (size_t j = 0; j < n; ++j) {
            block.moments[i * kBlock + j] = static_cast<float>(h[i * kBlock + j]);
            if (j > i) block.passed_on[i * kBlock + j] = static_cast<float>(inverted[i * kBlock + j] / own);
        }
    }
    return block;
}

struct Grid {
    float scale;
    float zero;

    // Adding and taking off 1.5 * 2^23 rounds to an integer, ties to even, in any instruction set.
    float code(float w, float inverse_scale) const {
        constexpr float kRound = 12582912.0F;
        const float x = std::min(std::max(w * inverse_scale + zero, static_cast<float>(kLeastCode)),
                                 static_cast<float>(kMostCode));
        return (x + kRound) - kRound;
    }
    float value(float code) const { return scale * (code - zero); }
};

struct Spread {
    float mean;
    float below;  // from the mean to the least weight, and to the most
    float above;
};

Spread spread_of(const float* row, size_t K) {
    double sum = 0;
    float least = row[0];
    float most = row[0];
    for (size_t k = 0; k < K; ++k) {
        sum += row[k];
        least = std::min(least, row[k]);
        most = std::max(most, row[k]);
    }
    const auto mean = static_cast<float>(sum / static_cast<double>(K));
    return {mean, mean - least, most - mean};
}

// The grid over a part of the row's width, by its number of steps from the whole.
Grid grid_of(const Spread& spread, int step) {
    const float part = 1.0F - kWidthStep * static_cast<float>(step);
    const float least = spread.mean - part * spread.below;
    const float scale = part * (spread.below + spread.above) / static_cast<float>(kMostCode - kLeastCode);
    return {scale, static_cast<float>(kLeastCode) - least / scale};
}

// Rounds one row; with room for its errors and its codes as floats.
class RowRounder {
  public:
    RowRounder(size_t K, const ErrorFeedback* feedback)
        : K_(K), feedback_(feedback), codes_(K), best_codes_(K), errors_(K) {}

    // Returns the grid; `codes` are written.
    Grid round(const float* row, int8_t* codes) {
        const float largest = row_absmax(row, K_);
        std::fill(codes, codes + K_, int8_t{0});
        if (std::isnan(largest)) return {largest, 0.0F};
        const Spread spread = spread_of(row, K_);
        const float width = spread.below + spread.above;
        if (!std::isfinite(width)) return {std::numeric_limits<float>::quiet_NaN(), 0.0F};
        // All alike, but for what float can tell: the zero point alone says it.
        constexpr float kNarrow = 1e-6F;
        if (!(width > kNarrow * largest)) return alike(spread.mean);
        const int step = least_squares(row, spread);
        Grid grid = grid_of(spread, step);
        if (feedback_ != nullptr) grid = with_feedback(row, spread, step);
        for (size_t k = 0; k < K_; ++k)
            codes[k] = static_cast<int8_t>(best_codes_[k]);
        return grid;
    }

  private:
    static Grid alike(float value) {
        return value == 0.0F ? Grid{0.0F, 0.0F} : Grid{std::fabs(value), value > 0 ? -1.0F : 1.0F};
    }

    // The squared error; codes_ are written.
    float round_plainly(const float* row, const Grid& grid) {
        const float inverse = 1.0F / grid.scale;
        float sums[kLane] = {};
        size_t k = 0;
        for (; k + kLane <= K_; k += kLane) {
            for (size_t i = 0; i < kLane; ++i) {
                const float code = grid.code(row[k + i], inverse);
                const float error = row[k + i] - grid.value(code);
                codes_[k + i] = code;
                sums[i] += error * error;
            }
        }
        float sum = 0;
        for (; k < K_; ++k) {
            codes_[k] = grid.code(row[k], inverse);
            const float error = row[k] - grid.value(codes_[k]);
            sum += error * error;
        }
        for (const float part : sums)
            sum += part;
        return sum;
    }

    // best_codes_ are those of plain rounding on the best grid.
    int least_squares(const float* row, const Spread& spread) {
        int best = 0;
        float least = std::numeric_limits<float>::infinity();
        for (int step = 0; step < kWidths; ++step) {
            const float error = round_plainly(row, grid_of(spread, step));
            // Squares of very large weights overflow; a grid there must be.
            if (step > 0 && !(error < least)) continue;
            least = error;
            best = step;
            best_codes_.swap(codes_);
        }
        return best;
    }

    double error_of_codes(const float* row, const Grid& grid) {
        for (size_t k = 0; k < K_; ++k)
            errors_[k] = row[k] - grid.value(codes_[k]);
        return feedback_->weighted_error(errors_.data());
    }

    // Rounds a block with feedback to codes_; returns its weighted error.
    double round_block(const float* row, const Grid& grid, const ErrorFeedback::Block& block) {
        alignas(64) float w[kBlock] = {};
        std::copy_n(row + block.first, block.size, w);
        const float inverse = 1.0F / grid.scale;
        double sum = 0;
        for (size_t i = 0; i < block.size; ++i) {
            const float code = grid.code(w[i], inverse);
            const float error = w[i] - grid.value(code);
            codes_[block.first + i] = code;
            sum += static_cast<double>(error * error * block.weight[i]);
            const float* const passed_on = block.passed_on.data() + i * kBlock;
            for (size_t j = i / kLane * kLane; j < kBlock; j += kLane)
                for (size_t lane = 0; lane < kLane; ++lane)
                    w[j + lane] -= error * passed_on[j + lane];
        }
        return sum;
    }

    Grid with_feedback(const float* row, const Spread& spread, int plain_step) {
        // What is to be beaten: plain rounding.
        Grid best = grid_of(spread, plain_step);
        codes_ = best_codes_;
        double least = error_of_codes(row, best);
        for (const int step : kFeedbackSteps) {
            const Grid grid = grid_of(spread, plain_step - step);
            double error = 0;
            for (const ErrorFeedback::Block& block : feedback_->blocks())
                error += round_block(row, grid, block);
            if (!(error < least)) continue;
            // As computed here it is a little off; what counts is the error of the codes.
            error = error_of_codes(row, grid);
            if (!(error < least)) continue;
            least = error;
            best = grid;
            best_codes_.swap(codes_);
        }
        return best;
    }

    const size_t K_;
    const ErrorFeedback* const feedback_;
    std::vector<float> codes_;
    std::vector<float> best_codes_;
    std::vector<float> errors_;
};

}  // namespace

ErrorFeedback::ErrorFeedback(const SecondMoments& moments, size_t segment)
    : K_(moments.segments[segment].K_padded) {
    const float* triangle = moments.values.data();
    for (size_t s = 0; s < segment; ++s)
        triangle += moment_values(moments.segments[s].K_padded);
    const double mean = mean_of_diagonal(triangle, K_);
    const double unit = mean > 0 ? mean : 1.0;
    for (size_t b = 0; b < moment_blocks(K_); ++b) {
        const size_t n = moment_block_size(K_, b);
        blocks_.push_back(make_block(triangle, b * kBlock, n, unit));
        triangle += n * (n + 1) / 2;
    }
}

double ErrorFeedback::weighted_error(const float* errors) const {
    double total = 0;
    for (const Block& block : blocks_) {
        float product[kBlock] = {};
        for (size_t i = 0; i < block.size; ++i) {
            const float error = errors[block.first + i];
            for (size_t j = 0; j < kBlock; ++j)
                product[j] += error * block.moments[i * kBlock + j];
        }
        for (size_t i = 0; i < block.size; ++i)
            total += static_cast<double>(product[i]) * static_cast<double>(errors[block.first + i]);
    }
    return total;
}

FourBitRows round_to_four_bits(const float* rows, size_t count, size_t K, const ErrorFeedback* feedback) {
    FourBitRows rounded{count, K, std::vector<int8_t>(count * K), std::vector<float>(count),
                        std::vector<float>(count)};
    RowRounder rounder(K, feedback);
    for (size_t n = 0; n < count; ++n) {
        const Grid grid = rounder.round(rows + n * K, rounded.codes.data() + n * K);
        rounded.scale[n] = grid.scale;
        rounded.zero[n] = grid.zero;
    }
    return rounded;
}

}  // namespace rknpu2
