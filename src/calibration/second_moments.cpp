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
// Channels that a sum is made for at a time. Blocks are whole lanes: a segment is padded to 32.
constexpr size_t kLane = 16;
static_assert(kMomentBlock % kLane == 0);

// sums += x x^T, the upper triangle, for `count` rows, of which x is the first one's block of n channels. The sums of
// a channel stay in the nearest cache for all rows.
void add_block(const float* x, size_t stride, size_t count, size_t n, float* __restrict sums) {
    for (size_t i = 0; i < n; ++i) {
        float* const row_sums = sums + i * n;
        for (size_t m = 0; m < count; ++m) {
            const float* const row = x + m * stride;
            const float value = row[i];
            for (size_t j = i / kLane * kLane; j < n; j += kLane)
                for (size_t lane = 0; lane < kLane; ++lane)
                    row_sums[j + lane] += value * row[j + lane];
        }
    }
}

size_t sum_count(size_t K_padded) {
    size_t sums = 0;
    for (size_t b = 0; b < moment_blocks(K_padded); ++b)
        sums += moment_block_size(K_padded, b) * moment_block_size(K_padded, b);
    return sums;
}

int8_t correlation(double product, double square, double other) {
    const double both = std::sqrt(square * other);
    const double whole = both > 0 ? 127 * product / both : 0.0;
    return static_cast<int8_t>(std::nearbyint(std::clamp(whole, -127.0, 127.0)));
}

}  // namespace

size_t channel_count(const std::vector<KSegment>& segments) {
    size_t channels = 0;
    for (const KSegment& segment : segments)
        channels += segment.K_padded;
    return channels;
}

size_t correlation_count(size_t K_padded) {
    return (sum_count(K_padded) - K_padded) / 2;
}

size_t correlation_count(const std::vector<KSegment>& segments) {
    size_t correlations = 0;
    for (const KSegment& segment : segments)
        correlations += correlation_count(segment.K_padded);
    return correlations;
}

std::shared_ptr<const SecondMoments> make_moments(std::vector<KSegment> segments, std::vector<float> squares,
                                                  std::vector<int8_t> correlations) {
    const auto is_square = [](float x) { return std::isfinite(x) && x >= 0; };
    if (squares.size() != channel_count(segments) || correlations.size() != correlation_count(segments) ||
        !std::all_of(squares.begin(), squares.end(), is_square))
        return nullptr;
    uint64_t identity = 0;
    for (const Digest& digest : {hash128(squares.data(), squares.size() * sizeof(float)),
                                 hash128(correlations.data(), correlations.size())})
        identity = hash_step(hash_step(identity, digest.high), digest.low);
    for (const KSegment& segment : segments)
        identity = hash_step(identity, segment.k_count);
    return std::make_shared<const SecondMoments>(
        SecondMoments{std::move(segments), std::move(squares), std::move(correlations), identity});
}

MomentSums::MomentSums(size_t K) : K_(K), segments_(segments_of(K, NpuArithmetic::kInt4)) {
    size_t sums = 0;
    for (const KSegment& segment : segments_)
        sums += sum_count(segment.K_padded);
    sums_.resize(sums);
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
                sums += sum_count(segment.K_padded);
            }
            rows_ += end - first;
        }
    }
}

void MomentSums::add_segment(const float* rows, size_t M, const KSegment& segment, float* sums) {
    if (M == 0) return;
    const size_t K_padded = segment.K_padded;
    rotated_.assign(M * K_padded, 0.0F);
    rotate_rows({.x = rows + segment.k0,
                 .row_stride = K_,
                 .M = M,
                 .K = segment.k_count,
                 .K_padded = K_padded,
                 .out = rotated_.data()});
    mix_blocks(rotated_.data(), M, K_padded);
    for (size_t b = 0; b < moment_blocks(K_padded); ++b) {
        const size_t n = moment_block_size(K_padded, b);
        add_block(rotated_.data() + b * kMomentBlock, K_padded, M, n, sums);
        sums += n * n;
    }
}

std::shared_ptr<const SecondMoments> MomentSums::moments() const {
    if (rows_ == 0) return nullptr;
    if (!std::all_of(sums_.begin(), sums_.end(), [](float x) { return std::isfinite(x); })) return nullptr;
    std::vector<float> squares;
    std::vector<int8_t> correlations;
    squares.reserve(channel_count(segments_));
    correlations.reserve(correlation_count(segments_));
    const float* block = sums_.data();
    for (const KSegment& segment : segments_) {
        const double rows = static_cast<double>(rows_ * rotation_block(segment.K_padded));
        for (size_t b = 0; b < moment_blocks(segment.K_padded); ++b) {
            const size_t n = moment_block_size(segment.K_padded, b);
            for (size_t i = 0; i < n; ++i) {
                squares.push_back(static_cast<float>(block[i * n + i] / rows));
                for (size_t j = i + 1; j < n; ++j)
                    correlations.push_back(correlation(block[i * n + j], block[i * n + i], block[j * n + j]));
            }
            block += n * n;
        }
    }
    return make_moments(segments_, std::move(squares), std::move(correlations));
}

}  // namespace rknpu2
