// SPDX-License-Identifier: MIT
#include "attention/row_sums.hpp"

#include <cmath>
#include <limits>

#include "kernels/dequantise.hpp"

namespace rknpu2 {
namespace {

constexpr float kNoMaximum = -std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

// 2^(from - to), from <= to: what one unit is in the other.
float share_of(float from, float to) {
    return from == kNoMaximum ? 0.0F : exp2_of(from - to);
}

}  // namespace

void RowSums::begin(const AttentionProblem& problem, ThreadPool& pool) {
    const size_t rows = problem.kv_heads * problem.rows();
    maxima_.assign(rows, kNoMaximum);
    sums_.assign(rows, 0.0F);
    ones_.assign(problem.values.width, 1.0F);
    pool.parallel_for(problem.tokens, [&](size_t token) {
        for (size_t head = 0; head < problem.heads; ++head)
            std::fill_n(problem.out_row(token, head), problem.values.width, 0.0F);
    });
}

void RowSums::add(const AttentionProblem& problem, size_t kv_head, size_t first, size_t count,
                  const Block& block) {
    const size_t width = problem.values.width;
    thread_local std::vector<float> shares;  // of the block, by row
    problem.for_tokens(kv_head, first, count, [&](size_t row, size_t token, size_t head, size_t rows) {
        shares.assign(rows, 0.0F);
        for (size_t i = 0; i < rows; ++i) {
            const size_t at = kv_head * problem.rows() + row + i;
            const float maximum = block.maxima[row - block.row + i];
            if (maximum == kNoMaximum) continue;
            if (!std::isfinite(maximum)) {
                sums_[at] = kNaN;
                continue;
            }
            const float larger = std::max(maxima_[at], maximum);
            const float before = share_of(maxima_[at], larger);
            shares[i] = share_of(maximum, larger);
            sums_[at] = sums_[at] * before + block.sums[row - block.row + i] * shares[i];
            maxima_[at] = larger;
            float* const out = problem.out_row(token, head + i);
            for (size_t n = 0; before != 1.0F && n < width; ++n)
                out[n] *= before;
        }
        for (const RunResult& values : block.values) {
            if (values.data == nullptr) continue;
            dequantise_rows<float>({reinterpret_cast<const float*>(values.data), values.rows, row - block.row,
                                    rows, width, shares.data(), ones_.data(), problem.out_row(token, head),
                                    problem.out_head_bytes / sizeof(float), Accumulate::kAdd});
        }
    });
}

void RowSums::finish(const AttentionProblem& problem, const std::vector<float>& factors,
                     ThreadPool& pool) const {
    const auto finish_row = [&](size_t token, size_t head) {
        const size_t at =
            head / problem.group() * problem.rows() + token * problem.group() + head % problem.group();
        float before = 1;
        float sum = sums_[at];
        if (problem.sinks != nullptr) {
            const float sink = problem.sinks[head] * kLog2E;
            const float larger = std::max(maxima_[at], sink);
            before = share_of(maxima_[at], larger);
            sum = sum * before + exp2_of(sink - larger) * kWeightUnit;
        }
        float factor = sum == 0.0F ? 0.0F : before / sum;
        const bool sees_nothing = maxima_[at] == kNoMaximum;  // zeros, whatever the query is
        if (std::isnan(factors[at]) && !sees_nothing) factor = kNaN;
        float* const out = problem.out_row(token, head);
        // The addition makes -0 a 0: which of them it is depends on what was left out.
        for (size_t n = 0; n < problem.values.width; ++n)
            out[n] = out[n] * factor + 0.0F;
    };
    pool.parallel_for(problem.tokens, [&](size_t token) {
        for (size_t head = 0; head < problem.heads; ++head)
            finish_row(token, head);
    });
}

}  // namespace rknpu2
