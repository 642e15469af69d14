// SPDX-License-Identifier: MIT
// How long the parts of a multiplication take on a board, roughly: what plans are compared by.
//
// The NPU's part follows the rule that sim/timing models in more detail: a tile of activations sits in the
// core's buffer, the weights stream past it once for every tile, and a core is as slow as the slower of its
// multipliers and its share of the memory. The CPU's part is the bytes that its loops touch. The rates are
// made of the two profiles that the simulator and rknpu2-bench predict read; each number has its source there.
// Nothing was measured by this project on a board; docs/performance.md says how far the rule is from published
// measurements. A wrong figure costs time, never a result.
//
// Pure functions; times in nanoseconds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "plan/chip.hpp"
#include "plan/weight_plan.hpp"

namespace rknpu2 {

// The CPU's multiplications. Weights are read once. Two dot products of 16 multiply-adds a cycle (Arm's optimisation guide for the
// Cortex-A76) on four cores at 2.26 GHz are 289 a nanosecond; unpacking and scaling leave a third, an estimate.
struct CpuProducts {
    double read_gbps = chip::cpu_read_gbps;
    double macs_per_ns = 289.0 / 3;
};

// Rates hold at a memory clock of 2400 MHz. A slower one makes all of them slower alike, so that plans, which
// compare, do not look at the clock. A board's own: plan/rates_of_board.hpp.
struct BoardRates {
    double run_ns = (chip::submit_us + chip::bind_us) * 1e3;  // a run call, and binding its operands
    // A call that syncs one operand, and how fast it goes through the buffer.
    double sync_ns = chip::sync_us * 1e3;
    double sync_gbps = chip::sync_gbps;
    // Multiplications and additions of a core in a nanosecond.
    double int4_macs_per_ns = chip::mac_efficiency * chip::macs_per_cycle_int4 * (chip::clock_mhz / 1e3);
    double int8_macs_per_ns = chip::mac_efficiency * chip::macs_per_cycle_int8 * (chip::clock_mhz / 1e3);
    double fp16_macs_per_ns = chip::mac_efficiency * chip::macs_per_cycle_fp16 * (chip::clock_mhz / 1e3);
    // A core's buffer, in banks. A load of activations takes tile_banks of them with int8; with fp16 up to
    // fp16_tile_banks, as many as two groups of kernels leave.
    double bank_bytes = chip::bank_bytes;
    double banks = chip::buffer_banks;
    double tile_banks = chip::data_banks_native_least;
    double fp16_tile_banks = chip::data_banks_native_fp16;
    // What 1, 2 or 3 cores get together: reading weights once, and reading them again.
    double stream_gbps[3] = {chip::stream_gbps_1, chip::stream_gbps_2, chip::stream_gbps_3};
    double mixed_gbps[3] = {chip::mixed_gbps_1, chip::mixed_gbps_2, chip::mixed_gbps_3};
    // Read and written by four A76 in loops of an engine.
    double cpu_gbps = chip::cpu_copy_gbps * chip::cpu_in_place;
    // Results to floats: of few columns, and of many, which are spread over many pages.
    double results_gbps = chip::results_gbps_narrow;
    double wide_results_gbps = chip::results_gbps_wide;
    // The share of the CPU's rates that is left while the NPU works.
    double cpu_beside_npu = chip::cpu_beside_npu;
    CpuProducts cpu_four_bits, cpu_eight_bits;       // of stored weights of about so many bits
    double region_ns = chip::region_us * 1e3;        // to start and end a loop on four threads
    double wake_ns = chip::wake_us * 1e3;            // until threads that sleep are at work
    double hand_over_ns = chip::hand_over_us * 1e3;  // between threads of such a loop
};
inline constexpr BoardRates kBoardRates;

inline constexpr size_t kMostSegments = 8;  // K is cut into more than a run's largest K asks for, up to here

// With int4: rows of at most kPieceK elements need one piece (kernels/digits.hpp) with weights of language models;
// some of 1536 need two. A prompt pays for pieces, so that segments have two at most.
inline constexpr size_t kPieceK = 1280;
inline constexpr size_t kMostDigitK = 2560;
inline constexpr size_t kMostPieces = 8;  // of a segment, whatever its weights are
// Rows of the cube for each row of activations that a segment is planned with.
size_t planes_of_digits(size_t K_padded);
// The longest segment.
size_t most_segment_k(NpuArithmetic arithmetic);

// One run on each of `cores` cores at the same time; rows of the cube.
double run_ns(const BoardRates& rates, NpuArithmetic arithmetic, size_t rows, size_t K, size_t N,
              size_t cores);

// Floats to the NPU's operand, and results of `segments` runs to floats, one after the other; N columns in
// weights of `width`.
double quantise_ns(const BoardRates& rates, NpuArithmetic arithmetic, size_t rows, size_t K);
double dequantise_ns(const BoardRates& rates, NpuArithmetic arithmetic, size_t rows, size_t N,
                     size_t segments, size_t width);

// How fast results of `width` columns become floats, of the rates for narrow and for wide ones (2560 columns
// and fewer, 10,240 and more): the time of a byte grows evenly in between. Few rows of activations are as fast as narrow
// ones: they lie together, and are read from start to end. A prompt's callers give rows of the cube.
inline constexpr size_t kFewResultRows = 16;
double results_gbps(double narrow_gbps, double wide_gbps, size_t rows, size_t width);

// Rows of activations of K elements that a core's buffer holds at a time: weights pass by once for each such
// tile.
size_t tile_rows(const BoardRates& rates, NpuArithmetic arithmetic, size_t K);

// How a weight is spread over three cores.
struct CellGrid {
    size_t segments = 1;
    size_t tiles = 3;
    size_t width = 0;  // of each weight, of several that are multiplied together; 0: there is one
};

// A multiplication of M rows in chunks of `chunk_rows`, while CPU and NPU work on different chunks.
double multiplication_ns(const BoardRates& rates, NpuArithmetic arithmetic, size_t M, size_t K, size_t N,
                         const CellGrid& grid, size_t chunk_rows);

// The rows of a chunk with which M rows are multiplied soonest.
size_t best_chunk_rows(const BoardRates& rates, NpuArithmetic arithmetic, size_t M, size_t K, size_t N,
                       const CellGrid& grid);

// Rows of a flow's chunks (ggml/flow/flow_plan.hpp).
// Chunks of 64 rows are best or within 2 % of it for five models (docs/performance.md); ggml's CPU backend
// computes attention in another way, with other roundings, for fewer.
inline constexpr int64_t kFlowChunkRows = 64;
inline constexpr int64_t kFewestFlowRows = 2 * kFlowChunkRows;
// Submitted chunks at a time: one that the NPU works on, and the next. And chunks that have results: those, and two
// whose results are being taken or wait for that.
inline constexpr size_t kFlowChunksInLane = 2;
inline constexpr size_t kFlowResultSlots = kFlowChunksInLane + 2;

// Longer chunks where attention is on the NPU, too: their rows fill its runs. Returns 112 or 128 rows, those with which these
// multiplications, with one plane, read their weights less often; kFlowChunkRows for prompts of less
// than kLongPromptRows rows, which would have too few chunks.
struct ProductShape {
    size_t K, N;
};
inline constexpr int64_t kLongPromptRows = 384;
int64_t flow_chunk_rows(const BoardRates& rates, NpuArithmetic arithmetic,
                        std::span<const ProductShape> products, int64_t rows);

// How many of the `left` rows of a prompt the next chunk has, `most` or fewer: the last two share what is left, none with
// less than kFlowChunkRows. So up to twice that, less one, are one chunk.
int64_t next_chunk_rows(int64_t left, int64_t most);

// Into how many segments rows of K elements are best cut, for a request of 512 tokens in and 128 out. Depends
// on K and the arithmetic alone: weights that share their activations must be cut alike, and results must not
// depend on how many cores there are or what is multiplied together (docs/adr/0004-segments.md).
size_t best_segments(const BoardRates& rates, NpuArithmetic arithmetic, size_t K);

}  // namespace rknpu2
