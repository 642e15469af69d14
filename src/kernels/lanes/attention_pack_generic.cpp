// SPDX-License-Identifier: MIT
#include <cstring>

#include "kernels/lanes/generic.hpp"
#include "matrix/layout.hpp"

namespace rknpu2::generic {
namespace {

using Halves = uint16_t __attribute__((vector_size(16)));
constexpr size_t kEight = 8;
constexpr size_t kGroup = kTileK / sizeof(uint16_t);  // columns of a tile
constexpr size_t kTile = kGroup * kTileK;
constexpr size_t kRun = 32;        // elements of a row that are taken at once: a cache line
constexpr size_t kAheadRows = 32;  // keys are asked for as many rows ahead

const uint16_t kZeros[kRun] = {};

// Notes halves that are infinite or NaN: their exponent overflows into the upper bit.
struct Seen {
    Halves bits = {};

    [[gnu::always_inline]] void note(Halves x) { bits |= (x & 0x7FFF) + 0x400; }
    bool finite() const {
        uint16_t any = 0;
        for (size_t i = 0; i < kEight; ++i)
            any |= bits[i];
        return (any & 0x8000U) == 0;
    }
};

[[gnu::always_inline]] inline Halves load(const std::byte* from) {
    Halves x;
    std::memcpy(&x, from, sizeof x);
    return x;
}

// A run of a row from element k on: where it is or, where the row is hidden or ends, a copy with zeros.
[[gnu::always_inline]] inline const std::byte* run_of(const HalvesToBlock& from, size_t i, size_t k,
                                                      uint16_t (&copy)[kRun]) {
    if ((from.seen != nullptr && from.seen[i] == 0) || k >= from.width)
        return reinterpret_cast<const std::byte*>(kZeros);
    const std::byte* const run = from.rows + i * from.row_bytes + k * sizeof(uint16_t);
    if (k + kRun <= from.width) return run;
    std::memset(copy, 0, sizeof copy);
    std::memcpy(copy, run, (from.width - k) * sizeof(uint16_t));
    return reinterpret_cast<const std::byte*>(copy);
}

// Three rounds, each of which moves the upper bit of the row's number below the column's.
[[gnu::always_inline]] inline void transpose(Halves (&x)[kEight]) {
#pragma GCC unroll 3
    for (size_t round = 0; round < 3; ++round) {
        Halves y[kEight];
#pragma GCC unroll 4
        for (size_t i = 0; i < 4; ++i) {
            y[2 * i] = __builtin_shufflevector(x[i], x[i + 4], 0, 8, 1, 9, 2, 10, 3, 11);
            y[2 * i + 1] = __builtin_shufflevector(x[i], x[i + 4], 4, 12, 5, 13, 6, 14, 7, 15);
        }
        std::memcpy(x, y, sizeof x);
    }
}

// 32 positions by `count` elements, 16 or 32, which are the columns of a tile or of two.
[[gnu::always_inline]] inline void store_tiles(const std::byte* const (&runs)[kTileK], size_t count,
                                               size_t depth, uint16_t* tile, Seen& seen) {
    for (size_t k = 0; k < kTileK; k += kEight) {
        for (size_t n = 0; n < count; n += kEight) {
            Halves x[kEight];
#pragma GCC unroll 8
            for (size_t i = 0; i < kEight; ++i) {
                x[i] = load(runs[k + i] + n * sizeof(uint16_t));
                seen.note(x[i]);
            }
            transpose(x);
            uint16_t* const to = tile + n / kGroup * kGroup * depth + n % kGroup * kTileK + k;
#pragma GCC unroll 8
            for (size_t i = 0; i < kEight; ++i)
                std::memcpy(to + i * kTileK, &x[i], sizeof x[i]);
        }
    }
}

}  // namespace

RKNPU2_CLONES bool pack_keys(const HalvesToBlock& keys) {
    const HalvesToBlock from = keys;
    Seen seen;
    for (size_t i = 0; i < from.count; ++i) {
        const size_t n = from.first + i;
        uint16_t* to = from.native + n / kGroup * kGroup * from.width_padded + n % kGroup * kTileK;
        for (size_t k = 0; k < from.width_padded; k += kRun, to += kTile) {
            uint16_t copy[kRun];
            const std::byte* const run = run_of(from, i, k, copy);
            __builtin_prefetch(run + kAheadRows * from.row_bytes);
#pragma GCC unroll 4
            for (size_t j = 0; j < kRun; j += kEight) {
                const Halves x = load(run + j * sizeof(uint16_t));
                seen.note(x);
                std::memcpy(to + j, &x, sizeof x);
            }
        }
    }
    return seen.finite();
}

RKNPU2_CLONES bool pack_values(const HalvesToBlock& values) {
    const HalvesToBlock from = values;
    Seen seen;
    for (size_t i = 0; i < from.count;) {
        const size_t position = from.first + i;
        uint16_t* const tiles = from.native + position / kTileK * kTile;
        const bool whole = position % kTileK == 0 && i + kTileK <= from.count;
        for (size_t n = 0; n < from.width_padded; n += kRun) {
            const size_t count = from.width_padded - n < kRun ? kGroup : kRun;
            uint16_t* const tile = tiles + n * from.depth;
            uint16_t copies[kTileK][kRun];
            if (whole) {
                const std::byte* runs[kTileK];
                for (size_t k = 0; k < kTileK; ++k) {
                    runs[k] = run_of(from, i + k, n, copies[k]);
                    __builtin_prefetch(runs[k] + kTileK * from.row_bytes, 0, 2);
                }
                store_tiles(runs, count, from.depth, tile, seen);
                continue;
            }
            const std::byte* const run = run_of(from, i, n, copies[0]);
            uint16_t column[kRun];
            std::memcpy(column, run, sizeof column);
            for (size_t j = 0; j < kRun; j += kEight)
                seen.note(load(run + j * sizeof(uint16_t)));
            for (size_t j = 0; j < count; ++j)
                tile[j / kGroup * kGroup * from.depth + j % kGroup * kTileK + position % kTileK] = column[j];
        }
        i += whole ? kTileK : 1;
    }
    return seen.finite();
}

}  // namespace rknpu2::generic
