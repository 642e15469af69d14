// SPDX-License-Identifier: MIT
// How one weight is cut for the NPU, and how the rows of one call are: pure arithmetic.
//
// A weight [N,K] becomes a grid. K is cut into segments of at most 8192 (a limit of one run), shorter where that
// spares the NPU reading weights again and again, and with int4, whose sums have 16 bits. N is cut into tiles of
// at most GGML_RKNPU2_COLUMNS columns. The cells are dealt to the cores; each is one native block, with K and N
// padded to the chip's alignment, and one run computes rows x cell. How N is cut decides how many runs there are, never a bit of a result. M is cut
// into chunks of at most kMaxRows, and each is rounded up to one of row_buckets(), so that one context for a
// cell's shape serves every M. Nothing is padded in the caller's tensors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "config/config.hpp"
#include "runtime/npu_runtime.hpp"
#include "soc/rk3588.hpp"

namespace rknpu2 {

// How numbers become what the NPU multiplies.
struct Recipe {
    NpuArithmetic arithmetic = NpuArithmetic::kInt8;
    bool rotate = false;                // along K, both operands (kernels/rotate.hpp)
    bool one_scale_per_tensor = false;  // instead of one for each row and channel
    // Rows of the cube for each row of activations: 1, or 2 with the residual. With int4 2 for each piece of a row
    // (kernels/digits.hpp); a packed weight may need more.
    size_t planes = 1;

    friend bool operator==(const Recipe&, const Recipe&) = default;
};

// What a precision that runs on the NPU does; those are all but kReference.
//   naive     int8, one scale for a tensor: what the first RKNPU2 experiment did
//   fast      int8 for each row and channel, rotated
//   balanced  the same with two planes: the activations' error is 254 times smaller, that of the weights remains
//   exact     fp16
//   compact   int4 weights by eight bits of activations, rotated; what must keep eight bits is as with `balanced`
// `float_activations`: the host wants the activations as floats, which the NPU has as fp16 only. Then `fast`,
// `balanced` and `compact` compute as `exact` does; `naive`, for comparison, stays as it is.
Recipe recipe_of(Precision precision, bool float_activations = false);
// Experts have no statistics of their activations: with `compact` they keep eight bits.
Recipe recipe_of_expert(Precision precision, bool float_activations = false);

struct KSegment {
    size_t k0;        // first K of the segment
    size_t k_count;   // real elements
    size_t K_padded;  // multiple of 32

    friend bool operator==(const KSegment&, const KSegment&) = default;
};

struct NTile {
    size_t n0;        // first column
    size_t n_count;   // real columns
    size_t N_padded;  // multiple of the kernel group
};

struct WeightPlan {
    size_t N = 0;
    size_t K = 0;
    int cores = 1;
    size_t most_columns = rk3588::kWideN;  // of a run, also of one that joins cells of several weights
    Recipe recipe;
    std::vector<KSegment> segments;  // ascending, covering 0 .. K
    std::vector<NTile> tiles;        // ascending, covering 0 .. N

    // Cells go to the cores one by one, segment after segment: with as many tiles as cores, a core has its
    // columns of every segment; with one tile, the segments go to different cores.
    size_t core_of(size_t segment, size_t tile) const {
        return (segment * tiles.size() + tile) % static_cast<size_t>(cores);
    }
    // Groups of as many tiles as cores: results of one are taken by themselves (runs/run_list.hpp).
    size_t strips() const;
    size_t cell_bytes(const KSegment& segment, const NTile& tile) const;
    size_t packed_bytes() const;     // of all cells
    size_t longest_segment() const;  // K_padded
    // Cut alike, with another choice of rotation.
    WeightPlan with_rotation(bool rotate) const;
};

// Into how many tiles of at most `most_columns` columns N is cut: as few runs of each core as the segments
// allow. Usually a multiple of the cores, so that each has its columns of every segment; fewer and wider ones
// where the segments can be dealt to the cores.
size_t tile_count(size_t N, size_t segments, int cores, size_t most_columns = rk3588::kWideN);

// How K is cut for an arithmetic: rows are rotated and mixed segment by segment, so this is what second moments of
// activations are about, too (calibration/second_moments.hpp).
std::vector<KSegment> segments_of(size_t K, NpuArithmetic arithmetic);

// N, K >= 1; cores 1 .. 3; most_columns: a multiple of 64. A result's bits depend on the segments, so these
// depend on K and the arithmetic alone (docs/adr/0004-segments.md).
WeightPlan plan_weight(size_t N, size_t K, const Recipe& recipe, int cores,
                       size_t most_columns = rk3588::kWideN);

struct RowChunk {
    size_t m0;      // first row
    size_t count;   // real rows
    size_t bucket;  // index into row_buckets()
};

inline constexpr size_t kMaxRows = 256;
// Rows of a cube of digits in a flow, whose chunks have a length of their own.
inline constexpr size_t kMaxDigitRows = 512;
constexpr size_t most_cube_rows(NpuArithmetic arithmetic) {
    return arithmetic == NpuArithmetic::kInt4 ? kMaxDigitRows : kMaxRows;
}

// Row counts a context is made for, ascending; the last is kMaxRows, with int4 kMaxDigitRows.
const std::vector<size_t>& row_buckets();
size_t bucket_count(NpuArithmetic arithmetic);

// Index of the smallest bucket that holds `rows` (1 .. kMaxDigitRows).
size_t bucket_for(size_t rows);
// The rows of that bucket.
size_t bucket_rows(size_t rows);

// The result of one run may have so many bytes, so wide runs have few rows. A multiplication has dozens of
// results at a time (each run of a round, two slots each) beside the weights of a domain.
inline constexpr size_t kMostResultBytes = size_t{4} << 20;
// Rows of such a run with `columns` columns (to rk3588::kMaxN): one of row_buckets().
size_t most_result_rows(size_t columns);

// Chunks of at most `most` rows of the cube (1 .. kMaxRows). `planes`: rows of the cube that each row takes;
// a chunk's bucket holds all of them. `chunks` is filled anew.
void plan_rows(size_t M, size_t planes, size_t most, std::vector<RowChunk>& chunks);

// How much one multiplication may hold of an address space of the NPU, and in how many pieces: the executor goes by
// what follows, and support() refuses what would not fit.

// What weights may take of a domain's address space. The rest is for the runtime's own command buffers (256
// MiB) and for work areas, which must be in the domain of their weights (512 MiB): activations and results of
// a prompt of 512 rows that flows through layers of a 7B model take 150 MiB as int8.
inline constexpr uint64_t kWorkAreaBytes = uint64_t{512} << 20;
inline constexpr uint64_t kMostWeightBytes = rk3588::kDomainBytes - kWorkAreaBytes - (uint64_t{256} << 20);

// Pieces of the rows of one multiplication whose activations lie in device memory at the same time.
inline constexpr size_t kMostRowChunks = 16;

// Rounds of a multiplication (matmul/pipeline.hpp) whose results may exist at once: one that is written, one
// that is read.
inline constexpr size_t kResultSlots = 2;

}  // namespace rknpu2
