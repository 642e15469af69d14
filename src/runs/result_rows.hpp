// SPDX-License-Identifier: MIT
// Results of the NPU's runs, made floats: scaled for row and channel, and added up over K segments and
// planes.
//
// Pure functions on memory; threads may convert different rows or cells at the same time. Segments and planes
// of a cell's columns must be added in ascending order, as RunStrip::cells lists them, for the bits to be the
// same.
#pragma once

#include <cstddef>

#include "runs/run_list.hpp"

namespace rknpu2 {

// Some rows of a chunk, with what its quantisation left.
struct ResultRows {
    size_t first = 0;  // row of the chunk
    size_t count = 0;
    size_t chunk_rows = 0;  // of activations: where the second plane begins
    size_t planes = 1;
    const float* scales = nullptr;  // [segment][kMaxRows]: rows of the cubes; with int4 rows of the chunk
    const float* sums = nullptr;    // [segment][kMaxRows]: of the rounded activations, rows of the chunk
};

// What a run wrote.
struct RunResult {
    const std::byte* data = nullptr;
    size_t rows = 0;  // of the cube
};

// Where floats go: the first of the rows, from the first of the columns on.
struct FloatRows {
    float* data = nullptr;
    size_t stride = 0;
};

// Some columns of a tile.
struct TileColumns {
    size_t first = 0;  // of the tile; a multiple of 64
    size_t count = 0;
};

// Which columns of a strip: all, or those of one tile, or of `bands` equal parts of that one.
struct StripPart {
    size_t tile = SIZE_MAX;  // all
    size_t band = 0;
    size_t bands = 1;

    // `of`: a tile that the part has. The last bands may be empty.
    TileColumns columns_of(const NTile& of) const;
};

// Adds a cell's part of the rows to `target`, which begins with the first of the columns; the first segment writes anew,
// bias included.
void add_cell(const PackedWeight& weight, const CellResult& cell, const TileColumns& columns,
              const RunResult& result, const ResultRows& rows, const FloatRows& target);

// The cells of a strip. `result_of` gives what a run of the strip has written, `target_of` where the floats of such columns
// of a cell go.
template <typename ResultOf, typename TargetOf>
void add_strip(const std::vector<const PackedWeight*>& weights, const RunStrip& strip, const StripPart& part,
               const ResultRows& rows, const ResultOf& result_of, const TargetOf& target_of) {
    for (const CellResult& cell : strip.cells) {
        if (part.tile != SIZE_MAX && part.tile != cell.tile) continue;
        const PackedWeight& weight = *weights[cell.product];
        const TileColumns columns = part.columns_of(weight.plan.tiles[cell.tile]);
        if (columns.count > 0)
            add_cell(weight, cell, columns, result_of(cell.run), rows, target_of(cell, columns));
    }
}

}  // namespace rknpu2
