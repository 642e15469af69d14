// SPDX-License-Identifier: MIT
#include "weights/four_bits.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>

#include "kernels/quantise.hpp"

namespace rknpu2 {
namespace {

constexpr size_t kLane = 16;  // channels that an error is passed on to at a time; blocks are whole lanes

// What is added to the diagonal, in parts of its mean: moments of some thousand rows are not to be trusted to the
// last (measured on another text: a thirtieth of it is 2 % worse).
constexpr double kDamping = 0.3;

// Grids that are tried: this part of the row's width, from the whole of it in steps.
constexpr float kWidthStep = 0.025F;
constexpr int kWidths = 24;
// With feedback, by steps from the grid of the least squared error. What is passed on makes rows wider.
constexpr std::array<int, 3> kFeedbackSteps = {-2, 0, 2};

// A square matrix by rows.
struct Square {
    explicit Square(size_t size) : n(size), values(size * size) {}
    double* operator[](size_t i) { return values.data() + i * n; }
    const double* operator[](size_t i) const { return values.data() + i * n; }

    size_t n;
    std::vector<double> values;
};

// Makes the upper triangular u of h = u u^T, from the last column to the first, and spoils its own copy of h. False: h
// is not positive definite.
bool factorise(Square h, Square& u) {
    std::vector<double> column(h.n);
    for (size_t j = h.n; j-- > 0;) {
        if (!(h[j][j] > 0)) return false;
        const double root = std::sqrt(h[j][j]);
        for (size_t i = 0; i <= j; ++i)
            u[i][j] = column[i] = h[i][j] / root;
        for (size_t i = 0; i < j; ++i)
            for (size_t k = i; k < j; ++k)
                h[i][k] -= column[i] * column[k];
    }
    return true;
}

// The inverse of an upper triangular matrix, which is one, too.
Square inverse(const Square& u) {
    Square inverted(u.n);
    for (size_t i = u.n; i-- > 0;) {
        double* const row = inverted[i];
        row[i] = 1;
        for (size_t k = i + 1; k < u.n; ++k)
            for (size_t j = k; j < u.n; ++j)
                row[j] -= u[i][k] * inverted[k][j];
        for (size_t j = i; j < u.n; ++j)
            row[j] /= u[i][i];
    }
    return inverted;
}

// Adds `damping` to the diagonal, more of it when that is not enough: the moments come from a file.
Square factor_of(Square& h, double damping) {
    Square u(h.n);
    for (;; damping *= 10) {
        for (size_t i = 0; i < h.n; ++i)
            h[i][i] += damping;
        if (factorise(h, u)) return u;
    }
}

// `squares` and `correlations`: the block's, the former in units of which their mean over all blocks is about 1.
ErrorFeedback::Block make_block(const float* squares, const int8_t* correlations, size_t first, size_t n,
                                double unit) {
    Square h(n);
    double diagonal = 0;
    for (size_t i = 0; i < n; ++i) {
        h[i][i] = static_cast<double>(squares[i]) / unit;
        diagonal += h[i][i];
    }
    for (size_t i = 0; i < n; ++i)
        for (size_t j = i + 1; j < n; ++j)
            h[i][j] = *correlations++ * std::sqrt(h[i][i] * h[j][j]) / 127;
    constexpr double kLeast = 1e-6;  // of a block that was (almost) never active
    const Square u = factor_of(h, kDamping * std::max(diagonal / static_cast<double>(n), kLeast));
    const Square inverted = inverse(u);
    ErrorFeedback::Block block{first, n, std::vector<float>(n * n), std::vector<float>(n * n),
                               std::vector<float>(n)};
    for (size_t i = 0; i < n; ++i) {
        const double own = inverted[i][i];
        block.weight[i] = static_cast<float>(1 / (own * own));
        block.moments[i * n + i] = static_cast<float>(h[i][i]);
        for (size_t j = i + 1; j < n; ++j) {
            block.moments[i * n + j] = static_cast<float>(2 * h[i][j]);
            block.passed_on[i * n + j] = static_cast<float>(inverted[i][j] / own);
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
        alignas(64) float w[kMomentBlock];
        std::copy_n(row + block.first, block.size, w);
        const float inverse = 1.0F / grid.scale;
        double sum = 0;
        for (size_t i = 0; i < block.size; ++i) {
            const float code = grid.code(w[i], inverse);
            const float error = w[i] - grid.value(code);
            codes_[block.first + i] = code;
            sum += static_cast<double>(error * error * block.weight[i]);
            const float* const passed_on = block.passed_on.data() + i * block.size;
            for (size_t j = i / kLane * kLane; j < block.size; j += kLane)
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
    const float* squares = moments.squares.data();
    const int8_t* correlations = moments.correlations.data();
    for (size_t s = 0; s < segment; ++s) {
        squares += moments.segments[s].K_padded;
        correlations += correlation_count(moments.segments[s].K_padded);
    }
    const double mean = std::accumulate(squares, squares + K_, 0.0) / static_cast<double>(K_);
    const double unit = mean > 0 ? mean : 1.0;
    for (size_t b = 0; b < moment_blocks(K_); ++b) {
        const size_t n = moment_block_size(K_, b);
        blocks_.push_back(make_block(squares, correlations, b * kMomentBlock, n, unit));
        squares += n;
        correlations += n * (n - 1) / 2;
    }
}

double ErrorFeedback::weighted_error(const float* errors) const {
    double total = 0;
    for (const Block& block : blocks_) {
        const float* const own = errors + block.first;
        float product[kMomentBlock] = {};
        for (size_t i = 0; i < block.size; ++i)
            for (size_t j = i / kLane * kLane; j < block.size; j += kLane)
                for (size_t lane = 0; lane < kLane; ++lane)
                    product[j + lane] += own[i] * block.moments[i * block.size + j + lane];
        for (size_t i = 0; i < block.size; ++i)
            total += static_cast<double>(product[i]) * static_cast<double>(own[i]);
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
