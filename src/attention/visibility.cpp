// SPDX-License-Identifier: MIT
#include "attention/visibility.hpp"

#include <algorithm>

#include "matrix/layout.hpp"

namespace rknpu2 {
namespace {

constexpr uint16_t kMagnitude = 0x7FFF;

}  // namespace

void Visibility::look(const AttentionProblem& problem, ThreadPool& pool) {
    parts_ = ceil_div(problem.positions, kValueBlock);
    tokens_ = problem.tokens;
    sees_.assign(parts_ * tokens_, Sees::kEverything);
    seen_.assign(parts_ * kValueBlock, 0);
    ends_.assign(parts_ * tokens_, 0);
    plain_.assign(parts_ * tokens_, 0);
    pool.parallel_for(parts_, [&](size_t part) { look_at(problem, part); });
}

void Visibility::look_at(const AttentionProblem& problem, size_t part) {
    const size_t first = part * kValueBlock;
    const size_t count = std::min(kValueBlock, problem.positions - first);
    uint8_t* const seen = seen_.data() + first;
    uint16_t* const ends = ends_.data() + part * tokens_;
    if (problem.mask == nullptr) {
        std::fill_n(seen, count, uint8_t{1});
        std::fill_n(ends, tokens_, static_cast<uint16_t>(count));
        std::fill_n(plain_.begin() + static_cast<std::ptrdiff_t>(part * tokens_), tokens_,
                    static_cast<uint16_t>(count));
        return;
    }
    for (size_t token = 0; token < tokens_; ++token) {
        uint32_t visible = 0;  // of all heads
        uint16_t added = 0;    // to what is visible
        for (size_t head = 0; head < problem.mask_heads; ++head) {
            const uint16_t* const mask = problem.mask_row(token, head) + first;
            for (size_t i = 0; i < count; ++i) {
                const auto sees = static_cast<uint8_t>(mask[i] != kHiddenMask);
                seen[i] |= sees;
                visible += sees;
                added |= static_cast<uint16_t>(mask[i] & kMagnitude & -sees);
            }
        }
        const auto sees = [&](size_t position) {
            for (size_t head = 0; head < problem.mask_heads; ++head)
                if (problem.mask_row(token, head)[first + position] != kHiddenMask) return true;
            return false;
        };
        size_t end = visible == 0 ? 0 : count;
        while (end > 0 && !sees(end - 1))
            --end;
        ends[token] = static_cast<uint16_t>(end);
        const auto all_to = [&](size_t position) {
            return added == 0 && visible == position * problem.mask_heads;
        };
        plain_[part * tokens_ + token] = static_cast<uint16_t>(all_to(end) ? end : 0);
        sees_[part * tokens_ + token] = visible == 0    ? Sees::kNothing
                                        : all_to(count) ? Sees::kEverything
                                                        : Sees::kSome;
    }
}

Visibility::Sees Visibility::of(size_t part, size_t first, size_t count) const {
    const Sees* const sees = sees_.data() + part * tokens_ + first;
    const bool alike = std::all_of(sees, sees + count, [&](Sees other) { return other == sees[0]; });
    return alike ? sees[0] : Sees::kSome;
}

size_t Visibility::plain_of(size_t part, size_t first, size_t count) const {
    const uint16_t* const plain = plain_.data() + part * tokens_ + first;
    return *std::min_element(plain, plain + count);
}

size_t Visibility::end_of(size_t part, size_t first, size_t count) const {
    const uint16_t* const ends = ends_.data() + part * tokens_ + first;
    return *std::max_element(ends, ends + count);
}

}  // namespace rknpu2
