// SPDX-License-Identifier: MIT
// What a matmul makes a core do, and how long that takes: pure functions of shape and profile.
//
// The rule: a tile of rows of A has to sit in the core's buffer while all of B streams past it, so B is read
// once for each tile. A tile gets as many banks as the profile grants, less where the kernels need more than
// the rest: a group of them is 32 bytes of K each, whatever the type, and in native layout there are two, so
// that one is loaded while the other is used, as long as that leaves a tile its least banks. K is cut into
// segments; from the second segment on, the partial sums of C are read and written again. More columns than
// one task takes are several tasks, each of which reads A.
//
// In normal layout a tile has no more results than the profile says, and its rows are tasks of their own,
// which take a least time however little there is to do. int4, and more columns than one task takes, go row
// by row: B is read once for each. None of this holds for one row, whose bytes are equal in both layouts.
//
// A block is one tile of one segment. Within a block memory and MACs overlap; blocks follow each other, since
// the buffer has no room for the next block's weights. Hence
//     time = sum over the blocks of max(MAC time, bytes / bandwidth, least time of the rows)
// and the MACs are stalled for the difference.
#pragma once

#include <array>
#include <cstdint>

#include "timing/profile.hpp"

namespace rknnsim {

struct MatmulShape {
    MatmulType type = MatmulType::kI8I8I32;
    bool ac_native = false;
    uint32_t M = 0, K = 0, N = 0;

    bool operator==(const MatmulShape&) const = default;
};

struct Block {
    uint64_t count = 0;  // of blocks that are alike
    uint64_t rows = 0;
    uint64_t macs = 0;  // this and what follows: of one block
    uint64_t read_a = 0, read_b = 0, read_c = 0;
    uint64_t write_c = 0;
    double least_ns = 0;

    uint64_t bytes() const { return read_a + read_b + read_c + write_c; }
};

struct Work {
    // Blocks come by segment (the first one, those between, the last one), and within a segment first the
    // full tiles, then the rest of the rows.
    struct Segment {
        uint64_t count = 0;
        Block full, rest;  // rest.count is 0 or 1
    };
    std::array<Segment, 3> segments;
    uint64_t tile_rows = 0;  // in the first segment
    uint64_t passes = 0;     // how often the first segment of B is read
    bool streaming = true;   // B is read once, or row by row, which goes as fast
    uint64_t blocks = 0, macs = 0;
    uint64_t read_a = 0, read_b = 0, read_c = 0, write_c = 0;

    // Calls visit(block) for every block in the order of execution.
    template <typename Visit>
    void for_each_block(Visit&& visit) const {
        for (const Segment& segment : segments) {
            for (uint64_t i = 0; i < segment.count; ++i) {
                for (uint64_t tile = 0; tile < segment.full.count; ++tile)
                    visit(segment.full);
                if (segment.rest.count > 0) visit(segment.rest);
            }
        }
    }
};

Work work_of(const MatmulShape& shape, const Profile& profile);

// Nanoseconds, as the chip would need them with `cores` cores busy.
struct Duration {
    double total = 0;
    double mac = 0;
    double dma = 0;
};

double mac_ns(const MatmulShape& shape, const Profile& profile, uint64_t macs);
// Bytes a nanosecond that each of `cores` busy cores gets.
double bandwidth(const Work& work, const Profile& profile, int cores);
Duration duration_of(const MatmulShape& shape, const Work& work, const Profile& profile, int cores);

// The CPU's part of conversions between layouts: of A or C, and of B, which costs the same for every M.
double convert_ns(const Profile& profile, uint64_t bytes, uint64_t rows);
double convert_b_ns(const Profile& profile, uint64_t bytes, bool transposed);

}  // namespace rknnsim
