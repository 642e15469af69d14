// SPDX-License-Identifier: MIT
// What one thread does of an attention of few tokens (few_tokens.hpp): rows of a KV head by blocks of positions.
#pragma once

#include <array>
#include <cstdint>

#include "attention/few_tokens.hpp"
#include "attention/partial_rows.hpp"
#include "kernels/few_tokens.hpp"

namespace rknpu2 {

inline constexpr size_t kFewRows = 32;    // of a piece of work, at most
inline constexpr size_t kFewSpan = 1024;  // positions

class FewTokensAttention::Worker {
  public:
    static size_t floats(const AttentionProblem& problem);

    Worker(const AttentionProblem& problem, float* memory);

    // Rows first .. first + count - 1 of a KV head, for all that follows.
    void take_rows(size_t kv_head, size_t first, size_t count);
    // Blocks first .. end-1 folded as the tree says, as far as these are whole spans, or within one.
    const PartialRows& blocks(size_t first, size_t end);
    // Folds the results of `parts` spans, or of as many blocks.
    const PartialRows& fold_parts(const float* partials, size_t floats, size_t parts, bool are_blocks);
    // Writes the rows' results.
    void write(const PartialRows& total) const;
    // A copy, at the beginning of `memory`.
    void keep(const PartialRows& rows, float* memory) const;

  private:
    // What fills a block's result; false: no row sees any of it.
    bool block(size_t n0);
    bool look(size_t n0);
    void score(size_t n0);
    void add_values(size_t n0);
    // The row again, without what it does not see.
    void add_values_of_row(size_t n0, size_t row);
    // Rows of positions n .. n + count - 1 of the block, as pointers to halves or to floats.
    FewPositions positions(const CacheRows& cache, size_t n0, size_t n, size_t count);
    bool any_seen(size_t n, size_t count) const;
    size_t token_of(size_t row) const { return (first_ + row) / problem_.group(); }
    size_t head_of(size_t row) const {
        return kv_head_ * problem_.group() + (first_ + row) % problem_.group();
    }

    const AttentionProblem& problem_;
    size_t key_stride_, value_stride_;
    float *queries_, *scores_, *floats_;
    PartialRows block_, span_, total_;
    size_t kv_head_ = 0, first_ = 0, rows_ = 0;
    std::array<float, kFewRows> slopes_{};
    size_t count_ = 0;                               // positions of the block
    std::array<const uint16_t*, kFewRows> masks_{};  // of the block, null: all is seen
    uint16_t* tails_;                                // masks of a block that the last position cuts
    std::array<uint8_t, kFewBlock> seen_{};          // by a row
    std::array<const std::byte*, kFewPiece> pointers_{};
};

}  // namespace rknpu2
