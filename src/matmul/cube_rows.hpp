// Rows of activations, made ready for the NPU: smoothed, rotated, rounded and packed into a cube.
//
// A cube is what one run reads: the rows of a chunk for one K segment of a weight, in the chip's layout. With
// two planes, the rounding errors of its first rows, rounded again, are its next rows. Rows of very large or
// very small numbers get far scales (kernels/far.hpp), and their sums are divided by the square root of the
// row's scale: the number that is kept for it, without its sign. Pure functions on
// memory; threads may fill different rows of a cube at the same time, best from multiples of kRowGroup on.
#pragma once

#include <cstddef>

#include "weights/packed_weight.hpp"

namespace rknpu2 {

struct Cube {
    std::byte* data = nullptr;
    size_t rows = 0;        // of the cube: a row bucket
    size_t chunk_rows = 0;  // of activations; planes times that many are used
    size_t planes = 1;
    float* scales = nullptr;  // [row of the cube]
    float* sums =
        nullptr;  // [row of the chunk], of the rounded activations; written for weights with zero points
    float tensor_scale = 0;  // the one scale of the naive precision; may be far
};

// Rows m .. m+count-1 (count at most kRowGroup) of the chunk, of which `rows` is the first and `stride` the
// distance in floats: all K of them; the segment's are taken. `rotated` has room for kRowGroup rows of
// segment.K_padded floats; only used when the weight's recipe rotates.
void quantise_rows(const PackedWeight& weight, const KSegment& segment, const Cube& cube, const float* rows,
                   size_t stride, size_t m, size_t count, float* rotated);

// The rows of the cube that no row of activations has.
void zero_padding(const PackedWeight& weight, const KSegment& segment, const Cube& cube);

}  // namespace rknpu2
