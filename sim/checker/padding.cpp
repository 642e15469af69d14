// SPDX-License-Identifier: MIT
#include "checker/padding.hpp"

#include <algorithm>
#include <cstring>

#include "core/fingerprint.hpp"
#include "matrix/layout.hpp"

namespace rknnsim {
namespace {

// One operand as elements (row, k): rows are m of A, or n of B.
class Elements {
  public:
    Elements(const Problem& problem, const BoundOperand& operand, size_t M)
        : problem_(problem),
          data_(operand.memory->cpu()),
          type_(input_type(problem.type)),
          is_a_(operand.which == Operand::kA),
          rows_(is_a_ ? M : problem.N) {}

    size_t rows() const { return rows_; }

    bool zero(size_t row, size_t k) const {
        const size_t at = index(row, k);
        if (type_ == DType::kInt4) {
            return rknpu2::int4_get(reinterpret_cast<const uint8_t*>(data_), at) == 0;
        }
        if (type_ == DType::kInt8) return data_[at] == std::byte{0};
        uint16_t half = 0;
        std::memcpy(&half, data_ + at * sizeof half, sizeof half);
        return (half & 0x7fffU) == 0;
    }

  private:
    size_t index(size_t row, size_t k) const {
        if (is_a_) {
            return problem_.ac_native ? rknpu2::a_index_native(row, k, rows_, type_)
                                      : rknpu2::a_index_normal(row, k, problem_.K);
        }
        switch (problem_.b_layout) {
            case Layout::kNative:
                return rknpu2::b_index_native(k, row, problem_.K, problem_.N, type_);
            case Layout::kTransposed:
                return rknpu2::b_index_transposed(k, row, problem_.K);
            default:
                return rknpu2::b_index_normal(k, row, problem_.N);
        }
    }

    const Problem& problem_;
    const std::byte* data_;
    DType type_;
    bool is_a_;
    size_t rows_;
};

// A few columns of weights of three values end in zeros by chance.
constexpr size_t kFewestColumns = 8;

// Has B at least so many columns with anything in them near the end?
bool has_columns_to_judge(const Elements& elements, size_t K) {
    const size_t from = K - std::min<size_t>(K, 2 * rknpu2::kTileK);
    size_t columns = 0;
    for (size_t n = 0; n < elements.rows() && columns < kFewestColumns; ++n) {
        for (size_t k = from; k < K; ++k) {
            if (elements.zero(n, k)) continue;
            ++columns;
            break;
        }
    }
    return columns == kFewestColumns;
}

size_t count_zero_tail(const Problem& problem, const BoundOperand& b) {
    const Elements elements(problem, b, 0);
    if (!has_columns_to_judge(elements, problem.K)) return 0;
    for (size_t count = 0; count < rknpu2::kTileK; ++count) {
        for (size_t n = 0; n < elements.rows(); ++n) {
            if (!elements.zero(n, problem.K - 1 - count)) return count;
        }
    }
    return 0;
}

}  // namespace

bool padding_is_zero(const Problem& problem, const BoundOperand& operand, size_t rows, size_t from) {
    const Elements elements(problem, operand, rows);
    for (size_t row = 0; row < elements.rows(); ++row) {
        for (size_t k = from; k < problem.K; ++k) {
            if (!elements.zero(row, k)) return false;
        }
    }
    return true;
}

size_t zero_tail(const Problem& problem, const BoundOperand& b) {
    // The common case costs one look: the last k of real weights is not zero.
    const Elements elements(problem, b, 0);
    if (!elements.zero(0, problem.K - 1)) return 0;
    ZeroTail& known = b.memory->zero_tail;
    const uint64_t now = fingerprint(b.memory->cpu(), b.bytes, b.whole);
    const std::lock_guard<std::mutex> lock(known.mutex);
    if (known.count < 0 || known.fingerprint != now) {
        known.count = static_cast<int>(count_zero_tail(problem, b));
        known.fingerprint = now;
    }
    return static_cast<size_t>(known.count);
}

}  // namespace rknnsim
