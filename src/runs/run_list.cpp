// SPDX-License-Identifier: MIT
#include "runs/run_list.hpp"

#include <algorithm>

namespace rknpu2 {
namespace {

// Does `cell` begin where the run ends?
bool continues(const Run& run, const Slice& cell) {
    return cell.slab == run.weights.slab && cell.offset == run.weights.offset + run.weight_bytes;
}

// The cells of one core and segment.
void add_cells(const std::vector<const PackedWeight*>& weights, size_t strip, size_t core, size_t segment,
               RunStrip& out) {
    const size_t first_run = out.runs.size();
    for (size_t product = 0; product < weights.size(); ++product) {
        const WeightPlan& plan = weights[product]->plan;
        const auto tiles = static_cast<size_t>(plan.cores);
        const size_t end = std::min((strip + 1) * tiles, plan.tiles.size());
        for (size_t t = strip * tiles; t < end; ++t) {
            if (plan.core_of(segment, t) != core) continue;
            const NTile& tile = plan.tiles[t];
            const Slice& cell = (*weights[product]->cells)[segment][t];
            const bool joins = out.runs.size() > first_run && continues(out.runs.back(), cell) &&
                               out.runs.back().N + tile.N_padded <= plan.most_columns;
            if (!joins) out.runs.push_back({core, segment, 0, cell, 0});
            Run& run = out.runs.back();
            out.cells.push_back({product, t, segment, out.runs.size() - 1, run.N});
            run.N += tile.N_padded;
            run.weight_bytes += plan.cell_bytes(plan.segments[segment], tile);
            if (segment == 0) out.columns += tile.n_count;
        }
    }
}

void fill_strip(const std::vector<const PackedWeight*>& weights, size_t strip, RunStrip& out) {
    out.runs.clear();
    out.cells.clear();
    out.columns = 0;
    const auto cores = static_cast<size_t>(weights[0]->plan.cores);
    out.first_tile = strip * cores;
    out.tiles = 0;
    for (const PackedWeight* const weight : weights) {
        const size_t end = std::min(out.first_tile + cores, weight->plan.tiles.size());
        out.tiles = std::max(out.tiles, end > out.first_tile ? end - out.first_tile : 0);
    }
    for (size_t core = 0; core < rk3588::kCores; ++core) {
        out.first_run[core] = out.runs.size();
        for (size_t segment = 0; segment < weights[0]->plan.segments.size(); ++segment)
            add_cells(weights, strip, core, segment, out);
    }
    out.first_run[rk3588::kCores] = out.runs.size();
    std::ranges::sort(out.cells);
}

}  // namespace

void RunList::fill(const std::vector<const PackedWeight*>& weights) {
    size_ = 0;
    for (const PackedWeight* const weight : weights)
        size_ = std::max(size_, weight->plan.strips());
    if (strips_.size() < size_) strips_.resize(size_);
    for (size_t strip = 0; strip < size_; ++strip)
        fill_strip(weights, strip, strips_[strip]);
}

size_t RunList::widest() const {
    size_t widest = 0;
    for (size_t strip = 0; strip < size_; ++strip)
        for (const Run& run : strips_[strip].runs)
            widest = std::max(widest, run.N);
    return widest;
}

}  // namespace rknpu2
