// SPDX-License-Identifier: MIT
// The rows of an attention while blocks of positions are added up, in the order of their positions.
//
// A block gives each row the maximum of its scores, the sum of its weights, and the weighted values; both are in
// units of 2^(that maximum). With a new maximum what was there before is multiplied by 2^(the old one - the new one).
// A block of which a row sees nothing changes no bit of it, nor does one that is left out.
//
// Threads may add different rows at the same time.
#pragma once

#include <array>
#include <vector>

#include "attention/visibility.hpp"
#include "runs/result_rows.hpp"

namespace rknpu2 {

class RowSums {
  public:
    // What a block has given for rows of a KV head, from `row` on.
    struct Block {
        size_t row;
        const float* maxima;  // in units of ln 2; -inf: the row sees nothing
        const float* sums;
        std::array<RunResult, kPartsOfBlock> values;  // without data: no row sees the part
    };

    // Nothing is added yet.
    void begin(const AttentionProblem& problem, ThreadPool& pool);
    void add(const AttentionProblem& problem, size_t kv_head, size_t first, size_t count, const Block& block);
    // Divides by the sums of weights, sinks included. A row that sees nothing is zeros, as in ggml's CPU backend;
    // one with a factor of NaN is NaN. factors: by KV head and row.
    void finish(const AttentionProblem& problem, const std::vector<float>& factors, ThreadPool& pool) const;

  private:
    std::vector<float> maxima_, sums_;  // by KV head and row
    std::vector<float> ones_;
};

}  // namespace rknpu2
