// SPDX-License-Identifier: MIT
#include <algorithm>
#include <cstring>

#include "core/kernels/blocked.hpp"
#include "core/kernels/convert_output.hpp"
#include "matrix/layout.hpp"

namespace rknnsim {
namespace {

using rknpu2::kSegmentK;
using rknpu2::kTileK;

constexpr size_t kChunkK = 1024;    // B panel: 64 KiB, and a strip of it 8 KiB
constexpr size_t kRowsAtOnce = 96;  // A panels of one chunk: 192 KiB
constexpr size_t kTileBytes = kGroup * kTileK;

// Two int4 elements of one byte; element order as in matrix/layout.hpp.
inline int low_nibble(uint8_t byte) {
    return static_cast<int8_t>(static_cast<uint8_t>(byte << 4)) >> 4;
}
inline int high_nibble(uint8_t byte) {
    return static_cast<int8_t>(byte) >> 4;
}

// A native int8 [K/16, M, 16] to row panels.
void pack_a_int8(const int8_t* a, size_t M, size_t K, int16_t* panels) {
    const size_t steps = K / kStep;
    for (size_t m = 0; m < M; ++m) {
        int16_t* to = panels + (m / kRowBlock) * steps * kRowBlock * kStep + (m % kRowBlock) * kStep;
        for (size_t s = 0; s < steps; ++s) {
            const int8_t* from = a + (s * M + m) * kStep;
            for (size_t i = 0; i < kStep; ++i)
                to[s * kRowBlock * kStep + i] = widen_int8(from[i]);
        }
    }
}

// A native int4 [K/32, M, 32] to row panels.
void pack_a_int4(const uint8_t* a, size_t M, size_t K, int16_t* panels) {
    const size_t steps = K / kStep;
    for (size_t m = 0; m < M; ++m) {
        int16_t* to = panels + (m / kRowBlock) * steps * kRowBlock * kStep + (m % kRowBlock) * kStep;
        for (size_t s = 0; s < steps; ++s) {
            const uint8_t* from = a + ((s / 2) * M + m) * kStep + (s % 2) * (kStep / 2);
            for (size_t i = 0; i < kStep / 2; ++i) {
                to[s * kRowBlock * kStep + 2 * i] = static_cast<int16_t>(low_nibble(from[i]));
                to[s * kRowBlock * kStep + 2 * i + 1] = static_cast<int16_t>(high_nibble(from[i]));
            }
        }
    }
}

// 32 columns of int4 tiles [64][32] to int8 tiles [32][32].
void unpack_b_int4(const uint8_t* b, size_t tiles, int8_t* to) {
    for (size_t t = 0; t < tiles; ++t) {
        const uint8_t* tile = b + t * kTileBytes;  // 64 columns of 16 bytes
        for (size_t i = 0; i < kTileBytes / 2; ++i) {
            to[2 * i] = static_cast<int8_t>(low_nibble(tile[i]));
            to[2 * i + 1] = static_cast<int8_t>(high_nibble(tile[i]));
        }
        to += kTileBytes;
    }
}

// The sums of one group of 32 columns over one segment of K.
class GroupSums {
  public:
    GroupSums(const IntKernels& kernels, const Job& job, Scratch& scratch)
        : kernels_(kernels), job_(job), steps_(job.K / kStep), a_(scratch.held<int16_t>(Scratch::kA)) {
        const bool int4 = input_type(job.type) == DType::kInt4;
        const size_t chunk = std::min(job.K, kChunkK);
        std::byte* memory = scratch.get<std::byte>(Scratch::kB, chunk * kGroup * (int4 ? 3 : 2));
        panel_ = reinterpret_cast<int16_t*>(memory);
        if (int4) unpacked_ = reinterpret_cast<int8_t*>(memory + chunk * kGroup * 2);
    }
    bool ok() const { return panel_ != nullptr; }

    // Adds to (or, with accumulate false, writes) sums [8][M][4].
    void add_segment(size_t n, size_t first, int32_t* sums, bool accumulate) {
        const size_t depth = std::min(job_.K - first, kSegmentK);
        // Few rows need no panel; a long pass over B reads memory more evenly.
        const size_t chunk = unpacked_ == nullptr && job_.M <= kFewRows ? depth : kChunkK;
        for (size_t k = 0; k < depth; k += chunk) {
            add_chunk(n, first, depth, k, std::min(chunk, depth - k), sums, accumulate || k > 0);
        }
    }

  private:
    const int8_t* tiles_at(size_t n, size_t first, size_t depth, size_t k, size_t count) {
        if (unpacked_ == nullptr) {
            return static_cast<const int8_t*>(job_.b) + first * job_.N + n * depth + k * kGroup;
        }
        const size_t wide = 2 * kGroup;  // columns of an int4 kernel group
        const auto* b =
            static_cast<const uint8_t*>(job_.b) + (first * job_.N + (n / wide) * wide * depth) / 2;
        unpack_b_int4(b + (k * wide + (n % wide) * kTileK) / 2, count / kTileK, unpacked_);
        return unpacked_;
    }

    void add_chunk(size_t n, size_t first, size_t depth, size_t k, size_t count, int32_t* sums,
                   bool accumulate) {
        const int8_t* tiles = tiles_at(n, first, depth, k, count);
        const int16_t* a = a_ + (first + k) / kStep * kRowBlock * kStep;
        if (job_.M <= kFewRows) {
            kernels_.multiply_few(a, tiles, count / kTileK, job_.M, sums, accumulate);
            return;
        }
        kernels_.widen_b(tiles, count / kTileK, panel_);
        const RowPanels panels{a, steps_ * kRowBlock * kStep};
        for (size_t row = 0; row < job_.M; row += kRowsAtOnce) {
            kernels_.multiply(panels, panel_, count / kStep, row, std::min(kRowsAtOnce, job_.M - row), job_.M,
                              sums, accumulate);
        }
    }

    const IntKernels& kernels_;
    const Job& job_;
    size_t steps_;
    const int16_t* a_;
    int16_t* panel_ = nullptr;
    int8_t* unpacked_ = nullptr;
};

// Adds the sums of one segment to `totals` (or writes them, for the first one), each clipped to 16 bits.
void add_clipped(const Job& job, const int32_t* sums, int32_t* totals, bool first) {
    uint64_t clipped = 0;
    for (size_t i = 0; i < kGroup * job.M; ++i)
        totals[i] = (first ? 0 : totals[i]) + clip_to_int16(sums[i], &clipped);
    if (job.clipped != nullptr) *job.clipped += clipped;
}

// Sums [8][M][4] of columns n .. n+31 to C native int16 [N/8, M, 8].
void write_int16(const Job& job, size_t n, const int32_t* sums) {
    auto* c = static_cast<int16_t*>(job.c);
    uint64_t clipped = 0;
    for (size_t i = 0; i < kGroup; ++i) {
        for (size_t m = 0; m < job.M; ++m) {
            int16_t& to = c[rknpu2::c_index_native(m, n + i, job.M, DType::kInt16)];
            to = clip_to_int16(sums[((i / kStrip) * job.M + m) * kStrip + i % kStrip], &clipped);
        }
    }
    if (job.clipped != nullptr) *job.clipped += clipped;
}

void write_int8(const Job& job, size_t n, const int32_t* sums) {
    auto* c = static_cast<int8_t*>(job.c);
    for (size_t i = 0; i < kGroup; ++i) {
        for (size_t m = 0; m < job.M; ++m) {
            c[rknpu2::c_index_native(m, n + i, job.M, DType::kInt8)] =
                requantise(sums[((i / kStrip) * job.M + m) * kStrip + i % kStrip], job.scale, job.rounding);
        }
    }
}

}  // namespace

bool load_a_int(const Job& job, Scratch& scratch) {
    const size_t panels = rknpu2::ceil_div(job.M, kRowBlock);
    auto* to = scratch.get<int16_t>(Scratch::kA, panels * kRowBlock * job.K);
    if (to == nullptr) return false;
    // Zero the rows that fill up the last panel.
    int16_t* last = to + (panels - 1) * kRowBlock * job.K;
    if (job.M % kRowBlock != 0) std::fill(last, last + kRowBlock * job.K, int16_t{0});
    if (input_type(job.type) == DType::kInt4) {
        pack_a_int4(static_cast<const uint8_t*>(job.a), job.M, job.K, to);
    } else {
        pack_a_int8(static_cast<const int8_t*>(job.a), job.M, job.K, to);
    }
    return true;
}

bool multiply_int(const IntKernels& kernels, const Job& job, Scratch& scratch) {
    GroupSums group(kernels, job, scratch);
    const DType c_type = output_type(job.type);
    // Sums of a segment, and totals of all segments.
    int32_t* own =
        c_type == DType::kInt32 ? nullptr : scratch.get<int32_t>(Scratch::kSums, 2 * kGroup * job.M);
    if (!group.ok() || (c_type != DType::kInt32 && own == nullptr)) return false;
    const bool by_segment = c_type == DType::kInt16 && job.int4_saturation == Int4Saturation::kSegment;
    for (size_t n = 0; n < job.N; n += kGroup) {
        int32_t* totals = by_segment ? own + kGroup * job.M : nullptr;
        int32_t* sums = own != nullptr ? own : static_cast<int32_t*>(job.c) + n * job.M;
        for (size_t first = 0; first < job.K; first += kSegmentK) {
            group.add_segment(n, first, sums, first > 0 && !by_segment);
            if (by_segment) add_clipped(job, sums, totals, first == 0);
        }
        if (c_type == DType::kInt16) write_int16(job, n, by_segment ? totals : sums);
        if (c_type == DType::kInt8) write_int8(job, n, sums);
    }
    return true;
}

}  // namespace rknnsim
