// SPDX-License-Identifier: MIT
#include "attention/few_tokens.hpp"

#include <algorithm>
#include <new>

#include "attention/few_tokens_worker.hpp"
#include "matrix/layout.hpp"

namespace rknpu2 {
namespace {

constexpr size_t kUnitsOfThread = 4;

}  // namespace

bool FewTokensAttention::takes(const AttentionProblem& problem) {
    const auto whole_floats = [](size_t bytes) { return bytes % sizeof(float) == 0; };
    const auto fits = [](const CacheRows& rows) { return rows.width >= 1 && rows.width <= kMostWidth; };
    return problem.tokens >= 1 && problem.tokens <= kMostTokens && problem.positions >= 1 &&
           problem.kv_heads >= 1 && problem.heads >= 1 && problem.heads % problem.kv_heads == 0 &&
           fits(problem.keys) && fits(problem.values) && whole_floats(problem.query_token_bytes) &&
           whole_floats(problem.query_head_bytes) && whole_floats(problem.out_token_bytes) &&
           whole_floats(problem.out_head_bytes);
}

Status FewTokensAttention::begin(const AttentionProblem& problem, size_t threads, AlignedBuffer* shared) {
    problem_ = problem;
    threads_ = std::max<size_t>(threads, 1);
    shared_ = shared;
    units_ = 0;
    ranges_ = ceil_div(problem.rows(), kFewRows);
    range_rows_ = round_up(ceil_div(problem.rows(), ranges_), size_t{4});
    ranges_ = ceil_div(problem.rows(), range_rows_);
    value_stride_ = round_up(problem.values.width, kFewStep);
    const size_t results = problem.kv_heads * ranges_;
    const size_t spans = ceil_div(problem.positions, kFewSpan);
    const size_t wanted = kUnitsOfThread * threads_;
    cut_ = results >= wanted ? Cut::kNot : results * spans >= wanted ? Cut::kSpans : Cut::kBlocks;
    parts_ = cut_ == Cut::kNot ? 1 : cut_ == Cut::kSpans ? spans : ceil_div(problem.positions, kFewBlock);
    worker_floats_ = Worker::floats(problem);
    partial_floats_ = PartialRows::floats(range_rows_, value_stride_);
    const size_t partials = cut_ == Cut::kNot ? 0 : results * parts_ * partial_floats_;
    AlignedBuffer& memory = shared == nullptr ? own_ : *shared;
    RKNPU2_RETURN_IF_ERROR(memory.grow((threads_ * worker_floats_ + partials) * sizeof(float)));
    if (results > lefts_) {
        left_.reset(new (std::nothrow) std::atomic<size_t>[results]);
        lefts_ = left_ == nullptr ? 0 : results;
        if (left_ == nullptr) return Status::no_memory();
    }
    for (size_t i = 0; i < results; ++i)
        left_[i].store(parts_, std::memory_order_relaxed);
    next_.store(0, std::memory_order_relaxed);
    workers_.store(0, std::memory_order_relaxed);
    units_ = results * parts_;
    return {};
}

size_t FewTokensAttention::rows_of(size_t range) const {
    return std::min(range_rows_, problem_.rows() - range * range_rows_);
}

// Ranges of the same part follow each other: they read the same keys and values.
void FewTokensAttention::work() noexcept {
    const size_t place = workers_.fetch_add(1, std::memory_order_relaxed);
    if (units_ == 0 || place >= threads_) return;
    Worker worker(problem_, memory() + place * worker_floats_);
    const size_t blocks = ceil_div(problem_.positions, kFewBlock);
    const size_t blocks_of_part = cut_ == Cut::kNot ? blocks : cut_ == Cut::kSpans ? kFewSpan / kFewBlock : 1;
    for (;;) {
        const size_t unit = next_.fetch_add(1, std::memory_order_relaxed);
        if (unit >= units_) return;
        const size_t range = unit % ranges_, part = unit / ranges_ % parts_;
        const size_t kv_head = unit / ranges_ / parts_;
        worker.take_rows(kv_head, range * range_rows_, rows_of(range));
        const PartialRows& rows =
            worker.blocks(part * blocks_of_part, std::min((part + 1) * blocks_of_part, blocks));
        if (cut_ == Cut::kNot) {
            worker.write(rows);
            continue;
        }
        const size_t result = kv_head * ranges_ + range;
        float* const partials = memory() + threads_ * worker_floats_ + result * parts_ * partial_floats_;
        worker.keep(rows, partials + part * partial_floats_);
        if (left_[result].fetch_sub(1, std::memory_order_acq_rel) == 1)
            worker.write(worker.fold_parts(partials, partial_floats_, parts_, cut_ == Cut::kBlocks));
    }
}

}  // namespace rknpu2
