// SPDX-License-Identifier: MIT
// Rows of activations, made ready for the NPU: smoothed, rotated, rounded and packed into a cube.
//
// A cube is what one run reads: the rows of a chunk for one K segment of a weight, in the chip's layout. With
// two planes, the rounding errors of its first rows, rounded again, are its next rows. With int4 the planes are the
// digits of the rows (kernels/digits.hpp), which have one scale. Rows of very large or
// very small numbers get far scales (kernels/far.hpp), and their sums are divided by the square root of the
// row's scale. Threads may fill different rows of a cube at the same time, best from multiples of kRowGroup
// on.
#pragma once

#include <atomic>

#include "base/aligned_buffer.hpp"
#include "weights/packed_weight.hpp"

namespace rknpu2 {

struct Cube {
    std::byte* data = nullptr;
    size_t rows = 0;        // of the cube: a row bucket
    size_t chunk_rows = 0;  // of activations; planes times that many are used
    size_t planes = 1;
    float* scales = nullptr;  // [row of the cube]; with int4 [row of the chunk]
    float* sums = nullptr;    // [row of the chunk], of the rounded activations, for weights with zero points
    float tensor_scale = 0;   // the one scale of the naive precision; may be far
};

// Bytes of a cube: a row bucket for one K segment.
size_t cube_bytes(const WeightPlan& plan, size_t segment, size_t bucket);

// Rows as their owner has them: the first one, and the distance from one to the next in floats.
struct RowSource {
    const float* data = nullptr;
    size_t stride = 0;
};

// Room for rows that are rotated, for as many threads as may quantise at a time. A thread takes what is free,
// which stays in its cache.
class RotatedRows {
  public:
    explicit RotatedRows(size_t threads) : taken_(threads) {}

    // For segments of at most K_padded; while nobody quantises. It grows, and stays.
    Status reserve(size_t K_padded);
    void clear();

    float* take();
    void give_back(const float* rows);

  private:
    AlignedBuffer memory_;
    size_t floats_ = 0;  // of each thread
    std::vector<std::atomic<bool>> taken_;
};

// Rows first .. first+count-1 of the chunk (first a multiple of kRowGroup). `rows` begins with the first of
// them, at k = 0. The call that has row 0 also fills the unused rows of the cube. `rotated` has
// room for the segment, if the weight's recipe rotates.
void quantise_rows(const PackedWeight& weight, const KSegment& segment, const Cube& cube,
                   const RowSource& rows, size_t first, size_t count, RotatedRows& rotated);

}  // namespace rknpu2
