// SPDX-License-Identifier: MIT
#include "attention/partial_rows.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/few_tokens.hpp"

namespace rknpu2 {
namespace {

constexpr float kNoMaximum = -std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

void fold_row(const PartialRows& into, const PartialRows& from, size_t i, size_t width) {
    float* const to = into.values + i * into.stride;
    const float* const more = from.values + i * from.stride;
    if (from.maxima[i] == kNoMaximum) return;
    if (into.maxima[i] == kNoMaximum) {
        into.maxima[i] = from.maxima[i];
        into.sums[i] = from.sums[i];
        std::copy_n(more, width, to);
        return;
    }
    if (std::isnan(into.sums[i]) || std::isnan(from.sums[i])) {
        into.sums[i] = kNaN;
        return;
    }
    const float larger = std::max(into.maxima[i], from.maxima[i]);
    const float before = fine_exp2(into.maxima[i] - larger);
    const float share = fine_exp2(from.maxima[i] - larger);
    into.maxima[i] = larger;
    into.sums[i] = into.sums[i] * before + from.sums[i] * share;
    for (size_t k = 0; k < width; ++k)
        to[k] = to[k] * before + more[k] * share;
}

}  // namespace

void clear(const PartialRows& rows, size_t count) {
    std::fill_n(rows.maxima, count, kNoMaximum);
}

void fold(const PartialRows& into, const PartialRows& from, size_t count, size_t width) {
    for (size_t i = 0; i < count; ++i)
        fold_row(into, from, i, width);
}

void finish_row(const PartialRows& rows, size_t i, const AttentionProblem& problem, size_t token,
                size_t head) {
    float* const out = problem.out_row(token, head);
    const float* const values = rows.values + i * rows.stride;
    const size_t width = problem.values.width;
    if (rows.maxima[i] == kNoMaximum) {
        std::fill_n(out, width, 0.0F);
        return;
    }
    float before = 1;
    float sum = rows.sums[i];
    if (problem.sinks != nullptr) {
        const float sink = problem.sinks[head] * kLog2E;
        const float larger = std::max(rows.maxima[i], sink);
        before = fine_exp2(rows.maxima[i] - larger);
        sum = sum * before + fine_exp2(sink - larger);
    }
    const float factor = before / sum;
    if (std::isnan(factor)) {  // also where a value of 0 times NaN is not NaN
        std::fill_n(out, width, kNaN);
        return;
    }
    // The addition makes -0 a 0: which of them it is depends on what was left out.
    for (size_t k = 0; k < width; ++k)
        out[k] = values[k] * factor + 0.0F;
}

}  // namespace rknpu2
