// SPDX-License-Identifier: MIT
// Which runs several multiplications by the same activations consist of, strip by strip. A strip is one tile
// of each weight for each core, with all segments.
//
// Within a strip, cells of one core and one segment that lie side by side in device memory are one run, up to
// the widest that the chip takes. Native weights have their columns outermost, so the cells of Q, K and V are
// together the cell of a wider weight; native results have theirs outermost, too. NpuDevice::reserve() puts
// weights that belong together side by side; where they do not lie so, they are runs of their own and the
// result is the same.
//
// Pure arithmetic. Filling a list again with something no larger allocates nothing.
#pragma once

#include <array>
#include <vector>

#include "weights/packed_weight.hpp"

namespace rknpu2 {

struct Run {
    size_t core;
    size_t segment;
    size_t N;             // columns, padding included
    Slice weights;        // the first cell
    size_t weight_bytes;  // of all of them
};

// Where a cell's result is.
struct CellResult {
    size_t product;
    size_t tile;
    size_t segment;
    size_t run;     // of the strip
    size_t column;  // of the run's result, where this cell's begin

    auto operator<=>(const CellResult&) const = default;  // NOLINT(modernize-use-nullptr): it trips over <=>
};

struct RunStrip {
    std::vector<Run> runs;  // core by core
    // The runs of core c are first_run[c] .. first_run[c + 1] - 1.
    std::array<size_t, rk3588::kCores + 1> first_run{};
    std::vector<CellResult> cells;  // by product, tile, segment: the order in which results are added up
    size_t columns = 0;             // real ones, of all tiles
    // Tiles of every weight that has them: first_tile .. first_tile + tiles - 1.
    size_t first_tile = 0;
    size_t tiles = 0;
};

class RunList {
  public:
    // `weights` want their activations in the same form (ActivationStore::same_form).
    void fill(const std::vector<const PackedWeight*>& weights);

    size_t size() const { return size_; }
    const RunStrip& operator[](size_t strip) const { return strips_[strip]; }
    // Columns of the widest run.
    size_t widest() const;

  private:
    std::vector<RunStrip> strips_;
    size_t size_ = 0;
};

}  // namespace rknpu2
