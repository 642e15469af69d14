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

const uint16_t kZeros[kTileK] = {};

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

// Elements k .. k + kCount - 1 of a row: where they are or, where the row is hidden or ends, a copy with zeros.
template <size_t kCount>
[[gnu::always_inline]] inline const std::byte* run_of(const HalvesToBlock& from, size_t i, size_t k,
                                                      uint16_t (&copy)[kCount]) {
    if ((from.seen != nullptr && from.seen[i] == 0) || k >= from.width)
        return reinterpret_cast<const std::byte*>(kZeros);
    const std::byte* const run = from.rows + i * from.row_bytes + k * sizeof(uint16_t);
    if (k + kCount <= from.width) return run;
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

// 32 positions by 16 elements, which are the tile's columns.
[[gnu::always_inline]] inline void store_tile(const std::byte* const (&runs)[kTileK], uint16_t* tile,
                                              Seen& seen) {
    for (size_t n = 0; n < kGroup; n += kEight) {
#pragma GCC unroll 4
        for (size_t k = 0; k < kTileK; k += kEight) {
            Halves x[kEight];
#pragma GCC unroll 8
            for (size_t i = 0; i < kEight; ++i) {
                x[i] = load(runs[k + i] + n * sizeof(uint16_t));
                seen.note(x[i]);
            }
            transpose(x);
#pragma GCC unroll 8
            for (size_t i = 0; i < kEight; ++i)
                std::memcpy(tile + (n + i) * kTileK + k, &x[i], sizeof x[i]);
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
        for (size_t k = 0; k < from.width_padded; k += kTileK, to += kTile) {
            uint16_t copy[kTileK];
            const std::byte* const run = run_of(from, i, k, copy);
#pragma GCC unroll 4
            for (size_t j = 0; j < kTileK; j += kEight) {
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
        for (size_t n = 0; n < from.width_padded; n += kGroup) {
            uint16_t* const tile = tiles + n * kValueBlock;
            uint16_t copies[kTileK][kGroup];
            if (!whole) {
                const std::byte* const run = run_of(from, i, n, copies[0]);
                uint16_t column[kGroup];
                std::memcpy(column, run, sizeof column);
                seen.note(load(run));
                seen.note(load(run + sizeof(Halves)));
                for (size_t j = 0; j < kGroup; ++j)
                    tile[j * kTileK + position % kTileK] = column[j];
                continue;
            }
            const std::byte* runs[kTileK];
            for (size_t k = 0; k < kTileK; ++k)
                runs[k] = run_of(from, i + k, n, copies[k]);
            store_tile(runs, tile, seen);
        }
        i += whole ? kTileK : 1;
    }
    return seen.finite();
}

}  // namespace rknpu2::generic
