// SPDX-License-Identifier: MIT
// Attention of few tokens by the CPU: keys and values are read once for all tokens and query heads of a KV head.
//
// Positions are taken in blocks of 128 at multiples of it, each with its own maximum. The blocks of a span of 1024
// positions are folded from the first to the last one, then the spans. So a row's bits depend on its query and on what
// it sees alone: not on tokens, threads, or what others see. What a row may not see is never looked at, and a row that
// sees a score of NaN or +inf is NaN; no other row notices. A score of -inf is as if it were not seen, and a row that sees
// nothing is zeros. Values are added in floats, and so differ from what the NPU and ggml's own kernel give.
//
// A piece of work is up to 32 rows of a KV head and all positions, a span or a block: the largest of these of which
// there are four for each thread. Threads take pieces from a counter; the one that has done the last piece of its rows
// folds what their pieces gave. Nobody waits.
//
// Memory of a sequence: for each thread 32 rows of queries, of scores of a block, of a piece of the cache, and of three results; and
// results of pieces, if these are not all positions: less than 128 * threads * max(8, spans) rows of width + 2 floats.
// With 8 tokens, 16384 positions, 32 heads of 128 and four threads: 3 MiB.
#pragma once

#include <atomic>
#include <memory>

#include "attention/problem.hpp"
#include "base/aligned_buffer.hpp"

namespace rknpu2 {

class FewTokensAttention {
  public:
    static constexpr size_t kMostTokens = 63;
    static constexpr size_t kMostWidth = 576;

    static bool takes(const AttentionProblem& problem);

    // By one thread, while none is in work(). Numbers and pointers of the problem are kept; what they point to is
    // first read by work(). `threads`: how many call work() at most. `shared`: memory for attentions of which one works
    // at a time, which outlives them; or memory of its own. It only grows. Fails if there is none; work() then does nothing.
    Status begin(const AttentionProblem& problem, size_t threads, AlignedBuffer* shared = nullptr);
    // Once by each thread. When all that have called it are back, the result is complete.
    void work() noexcept;

  private:
    class Worker;
    enum class Cut { kNot, kSpans, kBlocks };

    float* memory() const { return (shared_ == nullptr ? own_ : *shared_).as<float>(); }
    size_t rows_of(size_t range) const;

    AttentionProblem problem_;
    Cut cut_ = Cut::kNot;
    size_t threads_ = 0;
    size_t ranges_ = 0, range_rows_ = 0;  // of the rows of a KV head
    size_t parts_ = 0;                    // of the positions
    size_t units_ = 0;
    size_t worker_floats_ = 0, partial_floats_ = 0;
    size_t value_stride_ = 0;
    AlignedBuffer own_;
    AlignedBuffer* shared_ = nullptr;
    std::unique_ptr<std::atomic<size_t>[]> left_;  // parts to be done, by KV head and range
    size_t lefts_ = 0;                             // for which there is room
    std::atomic<size_t> next_{0}, workers_{0};
};

}  // namespace rknpu2
