// SPDX-License-Identifier: MIT
// What rows of queries have got from some positions, with the maximum of their scores there: results of neighbouring
// positions are folded into one.
#pragma once

#include <cstddef>

#include "attention/problem.hpp"

namespace rknpu2 {

// Weights are 2^(score - maximum), scores in units of ln 2. A maximum of -inf: nothing was seen, and the rest is not
// read. A sum of NaN: a score was NaN or +inf, and all results of the row are NaN.
struct PartialRows {
    float* maxima;
    float* sums;  // of weights
    float* values;
    size_t stride;  // of values, from one row to the next

    // What `rows` of them with `stride` values take, and their parts of so much memory.
    static size_t floats(size_t rows, size_t stride) { return rows * (stride + 2); }
    static PartialRows at(float* memory, size_t rows, size_t stride) {
        return {memory, memory + rows, memory + 2 * rows, stride};
    }
};

// Nothing is seen.
void clear(const PartialRows& rows, size_t count);
// `from` are positions behind those of `into`. What has seen nothing changes no bit.
void fold(const PartialRows& into, const PartialRows& from, size_t count, size_t width);
// Divides row i by its weights, the sink of query head `head` included. Zeros if it has seen nothing.
void finish_row(const PartialRows& rows, size_t i, const AttentionProblem& problem, size_t token,
                size_t head);

}  // namespace rknpu2
