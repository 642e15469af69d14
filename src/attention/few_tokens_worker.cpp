// SPDX-License-Identifier: MIT
#include "attention/few_tokens_worker.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "kernels/attention.hpp"
#include "matrix/float16.hpp"
#include "matrix/layout.hpp"

namespace rknpu2 {
namespace {

// More rows than this share floats of a piece of the cache. Fewer convert halves in registers.
constexpr size_t kMostDirectRows = 4;
constexpr size_t kLine = 16;  // floats
constexpr size_t kBlocksOfSpan = kFewSpan / kFewBlock;

// What a position that nobody sees has for a row.
alignas(64) constexpr std::byte kZeros[FewTokensAttention::kMostWidth * sizeof(float)] = {};

size_t stride_of(size_t width) {
    return round_up(width, kFewStep);
}

}  // namespace

size_t FewTokensAttention::Worker::floats(const AttentionProblem& problem) {
    const size_t keys = stride_of(problem.keys.width), values = stride_of(problem.values.width);
    const size_t tails = kFewRows * kFewBlock * sizeof(uint16_t) / sizeof(float);
    return round_up(kFewRows * keys + kFewRows * kFewBlock + tails + kFewPiece * std::max(keys, values) +
                        3 * PartialRows::floats(kFewRows, values),
                    kLine);
}

FewTokensAttention::Worker::Worker(const AttentionProblem& problem, float* memory)
    : problem_(problem),
      key_stride_(stride_of(problem.keys.width)),
      value_stride_(stride_of(problem.values.width)) {
    const auto take = [&memory](size_t floats) {
        float* const taken = memory;
        memory += floats;
        return taken;
    };
    queries_ = take(kFewRows * key_stride_);
    scores_ = take(kFewRows * kFewBlock);
    floats_ = take(kFewPiece * std::max(key_stride_, value_stride_));
    tails_ = reinterpret_cast<uint16_t*>(take(kFewRows * kFewBlock * sizeof(uint16_t) / sizeof(float)));
    for (PartialRows* rows : {&block_, &span_, &total_})
        *rows = PartialRows::at(take(PartialRows::floats(kFewRows, value_stride_)), kFewRows, value_stride_);
}

void FewTokensAttention::Worker::take_rows(size_t kv_head, size_t first, size_t count) {
    kv_head_ = kv_head;
    first_ = first;
    rows_ = count;
    for (size_t row = 0; row < count; ++row) {
        float* const to = queries_ + row * key_stride_;
        std::copy_n(problem_.query(token_of(row), head_of(row)), problem_.keys.width, to);
        std::fill(to + problem_.keys.width, to + key_stride_, 0.0F);
        slopes_[row] = problem_.slope(head_of(row)) * kLog2E;
    }
}

const PartialRows& FewTokensAttention::Worker::blocks(size_t first, size_t end) {
    clear(total_, rows_);
    for (size_t at = first; at < end;) {
        const size_t span_end = std::min((at / kBlocksOfSpan + 1) * kBlocksOfSpan, end);
        clear(span_, rows_);
        for (; at < span_end; ++at)
            if (block(at * kFewBlock)) fold(span_, block_, rows_, value_stride_);
        fold(total_, span_, rows_, value_stride_);
    }
    return total_;
}

const PartialRows& FewTokensAttention::Worker::fold_parts(const float* partials, size_t floats, size_t parts,
                                                          bool are_blocks) {
    const size_t together = are_blocks ? kBlocksOfSpan : 1;
    clear(total_, rows_);
    for (size_t part = 0; part < parts;) {
        const size_t end = std::min(part + together, parts);
        clear(span_, rows_);
        for (; part < end; ++part)
            fold(span_, PartialRows::at(const_cast<float*>(partials) + part * floats, rows_, value_stride_),
                 rows_, value_stride_);
        fold(total_, span_, rows_, value_stride_);
    }
    return total_;
}

void FewTokensAttention::Worker::write(const PartialRows& total) const {
    for (size_t row = 0; row < rows_; ++row)
        finish_row(total, row, problem_, token_of(row), head_of(row));
}

void FewTokensAttention::Worker::keep(const PartialRows& rows, float* memory) const {
    const PartialRows to = PartialRows::at(memory, rows_, value_stride_);
    std::copy_n(rows.maxima, rows_, to.maxima);
    std::copy_n(rows.sums, rows_, to.sums);
    std::copy_n(rows.values, rows_ * value_stride_, to.values);
}

bool FewTokensAttention::Worker::block(size_t n0) {
    if (!look(n0)) return false;
    score(n0);
    add_values(n0);
    return true;
}

// Masks and what they show. A mask that ends within the step is copied, hidden behind the end; so is none.
bool FewTokensAttention::Worker::look(size_t n0) {
    const size_t there = std::min(kFewBlock, problem_.positions - n0);
    count_ = round_up(there, kFewStep);
    const bool cut = there != count_;
    std::array<uint8_t, kFewBlock> seen{};  // a copy that no other pointer can mean
    const uint16_t* before = nullptr;
    for (size_t row = 0; row < rows_; ++row) {
        const uint16_t* mask = nullptr;
        if (problem_.mask != nullptr) mask = problem_.mask_row(token_of(row), head_of(row)) + n0;
        const bool again = row > 0 && mask == before;
        before = mask;
        if (again) {
            masks_[row] = masks_[row - 1];
            continue;
        }
        if (cut) {
            uint16_t* const tail = tails_ + row * kFewBlock;
            if (mask == nullptr) std::fill_n(tail, there, uint16_t{0});
            if (mask != nullptr) std::copy_n(mask, there, tail);
            std::fill(tail + there, tail + count_, kHiddenMask);
            mask = tail;
        }
        masks_[row] = mask;
        if (mask == nullptr) seen.fill(1);
        for (size_t n = 0, count = mask == nullptr ? 0 : count_; n < count; ++n)
            seen[n] = static_cast<uint8_t>(seen[n] | static_cast<uint8_t>(mask[n] != kHiddenMask));
    }
    seen_ = seen;
    return any_seen(0, count_);
}

bool FewTokensAttention::Worker::any_seen(size_t n, size_t count) const {
    return std::memchr(seen_.data() + n, 1, count) != nullptr;
}

FewPositions FewTokensAttention::Worker::positions(const CacheRows& cache, size_t n0, size_t n,
                                                   size_t count) {
    const size_t stride = stride_of(cache.width);
    const bool direct = cache.dequantise == nullptr && rows_ <= kMostDirectRows && stride == cache.width;
    for (size_t i = 0; i < count; ++i) {
        pointers_[i] = kZeros;
        if (seen_[n + i] == 0) continue;
        const std::byte* const row = cache.row(n0 + n + i, kv_head_);
        float* const to = floats_ + i * stride;
        pointers_[i] = direct ? row : reinterpret_cast<const std::byte*>(to);
        if (direct) continue;
        if (cache.dequantise == nullptr) {
            widen_few(reinterpret_cast<const uint16_t*>(row), cache.width, to);
        } else {
            cache.dequantise(row, to, static_cast<int64_t>(cache.width));
            std::fill(to + cache.width, to + stride, 0.0F);
        }
    }
    return {pointers_.data(), count, stride, direct};
}

void FewTokensAttention::Worker::score(size_t n0) {
    for (size_t n = 0; n < count_; n += kFewPiece) {
        const size_t count = std::min(kFewPiece, count_ - n);
        if (!any_seen(n, count)) continue;
        score_few(
            {queries_, key_stride_, rows_, positions(problem_.keys, n0, n, count), scores_ + n, kFewBlock});
    }
    weigh_few({scores_, kFewBlock, rows_, count_, problem_.scale * kLog2E, problem_.softcap * kLog2E,
               masks_.data(), slopes_.data(), block_.maxima, block_.sums});
    for (size_t row = 0; row < rows_; ++row)
        if (std::isnan(block_.sums[row])) block_.maxima[row] = 0;  // not -inf, which is nothing
}

void FewTokensAttention::Worker::add_values(size_t n0) {
    std::fill_n(block_.values, rows_ * value_stride_, 0.0F);
    for (size_t n = 0; n < count_; n += kFewPiece) {
        const size_t count = std::min(kFewPiece, count_ - n);
        if (!any_seen(n, count)) continue;
        add_few({scores_ + n, kFewBlock, rows_, positions(problem_.values, n0, n, count), block_.values,
                 value_stride_});
    }
    // A value that is not finite is one that another row sees, or one of its own.
    for (size_t row = 0; row < rows_; ++row) {
        if (std::isnan(block_.sums[row]) || block_.maxima[row] == -HUGE_VALF) continue;
        const float* const values = block_.values + row * value_stride_;
        uint32_t largest = 0;  // magnitudes are ordered as their bits are, NaN above infinity
        for (size_t k = 0; k < value_stride_; ++k)
            largest = std::max(largest, std::bit_cast<uint32_t>(values[k]) & 0x7FFFFFFFU);
        if (largest >= 0x7F800000U) add_values_of_row(n0, row);
    }
}

void FewTokensAttention::Worker::add_values_of_row(size_t n0, size_t row) {
    float* const values = block_.values + row * value_stride_;
    std::fill_n(values, value_stride_, 0.0F);
    for (size_t n = 0; n < count_; ++n) {
        if (masks_[row] != nullptr && masks_[row][n] == kHiddenMask) continue;
        const FewPositions one = positions(problem_.values, n0, n, 1);
        for (size_t k = 0; k < problem_.values.width; ++k) {
            const float value = one.halves
                                    ? float16_to_float(reinterpret_cast<const uint16_t*>(one.rows[0])[k])
                                    : reinterpret_cast<const float*>(one.rows[0])[k];
            values[k] = std::fma(scores_[row * kFewBlock + n], value, values[k]);
        }
    }
}

}  // namespace rknpu2
