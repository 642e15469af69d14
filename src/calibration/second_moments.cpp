// SPDX-License-Identifier: MIT
#include "calibration/second_moments.hpp"

#include <algorithm>
#include <cmath>

#include "base/hash.hpp"
#include "kernels/quantise.hpp"
#include "kernels/rotate.hpp"

namespace rknpu2 {
namespace {

constexpr size_t kRowsAtOnce = 32;  // rotated rows that are in the cache together
constexpr size_t kSquare = kMomentBlock * kMomentBlock;

// sums += x x^T for `count` rows, of which x is the first one's block. Fixed sizes, so that the loop is vectors.
void add_block(const float* x, size_t stride, size_t count, float* __restrict sums) {
    for (size_t m = 0; m < count; ++m) {
        const float* const row = x + m * stride;
        for (size_t i = 0; i < kMomentBlock; ++i) {
            const float value = row[i];
            for (size_t j = 0; j < kMomentBlock; ++j)
                sums[i * kMomentBlock + j] += value * row[j];
        }
    }
}

// The first row and column of a block's upper triangle are its own, so a walk over both gives the diagonal.
bool are_moments(const std::vector<KSegment>& segments, const std::vector<float>& values) {
    size_t at = 0;
    for (const KSegment& segment : segments) {
        for (size_t b = 0; b < moment_blocks(segment.K_padded); ++b) {
            for (size_t left = moment_block_size(segment.K_padded, b); left > 0; at += left--)
                if (values[at] < 0) return false;
        }
    }
    return std::all_of(values.begin(), values.end(), [](float x) { return std::isfinite(x); });
}

}  // namespace

size_t moment_values(size_t K_padded) {
    size_t values = 0;
    for (size_t b = 0; b < moment_blocks(K_padded); ++b) {
        const size_t n = moment_block_size(K_padded, b);
        values += n * (n + 1) / 2;
    }
    return values;
}

size_t moment_values(const std::vector<KSegment>& segments) {
    size_t values = 0;
    for (const KSegment& segment : segments)
        values += moment_values(segment.K_padded);
    return values;
}

std::shared_ptr<const SecondMoments> make_moments(std::vector<KSegment> segments, std::vector<float> values) {
    if (values.size() != moment_values(segments) || !are_moments(segments, values)) return nullptr;
    const Digest digest = hash128(values.data(), values.size() * sizeof(float));
    uint64_t identity = hash_step(digest.high, digest.low);
    for (const KSegment& segment : segments)
        identity = hash_step(identity, segment.k_count);
    return std::make_shared<const SecondMoments>(
        SecondMoments{std::move(segments), std::move(values), identity});
}

MomentSums::MomentSums(size_t K) : K_(K), segments_(segments_of(K, NpuArithmetic::kInt4)) {
    size_t blocks = 0;
    for (const KSegment& segment : segments_)
        blocks += moment_blocks(segment.K_padded);
    sums_.resize(blocks * kSquare);
}

void MomentSums::add(const float* rows, size_t M) {
    for (size_t m = 0; m < M; m += kRowsAtOnce) {
        // Rows that follow each other and are finite.
        const size_t most = std::min(M, m + kRowsAtOnce);
        for (size_t first = m, end = m; first < most; first = end + 1) {
            end = first;
            while (end < most && !std::isnan(row_absmax(rows + end * K_, K_)))
                ++end;
            float* sums = sums_.data();
            for (const KSegment& segment : segments_) {
                add_segment(rows + first * K_, end - first, segment, sums);
                sums += moment_blocks(segment.K_padded) * kSquare;
            }
            rows_ += end - first;
        }
    }
}

void MomentSums::add_segment(const float* rows, size_t M, const KSegment& segment, float* sums) {
    if (M == 0) return;
    const size_t K_padded = segment.K_padded;
    // A last block of 32 is read as one of 64: what is beyond it is zero or the next row's, and never looked at.
    rotated_.assign(M * K_padded + kMomentBlock, 0.0F);
    rotate_rows({.x = rows + segment.k0,
                 .row_stride = K_,
                 .M = M,
                 .K = segment.k_count,
                 .K_padded = K_padded,
                 .out = rotated_.data()});
    mix_blocks(rotated_.data(), M, K_padded);
    for (size_t b = 0; b < moment_blocks(K_padded); ++b)
        add_block(rotated_.data() + b * kMomentBlock, K_padded, M, sums + b * kSquare);
}

std::shared_ptr<const SecondMoments> MomentSums::moments() const {
    if (rows_ == 0) return nullptr;
    std::vector<float> values;
    values.reserve(moment_values(segments_));
    const float* block = sums_.data();
    for (const KSegment& segment : segments_) {
        const double rows = static_cast<double>(rows_ * rotation_block(segment.K_padded));
        for (size_t b = 0; b < moment_blocks(segment.K_padded); ++b, block += kSquare) {
            const size_t n = moment_block_size(segment.K_padded, b);
            for (size_t i = 0; i < n; ++i)
                for (size_t j = i; j < n; ++j)
                    values.push_back(static_cast<float>(block[i * kMomentBlock + j] / rows));
        }
    }
    return make_moments(segments_, std::move(values));
}

}  // namespace rknpu2
