// SPDX-License-Identifier: MIT
// What the threads do in a multiplication.
#include <algorithm>

#include "matmul/multiplication.hpp"

namespace rknpu2 {
namespace {

// Results that a thread turns into floats at a time: long enough to be worth the way to the queue.
constexpr size_t kElementsPerShare = 65536;
// Native results have four columns of a row side by side, rows next: a few rows at a time use whole cache
// lines.
constexpr size_t kShareAlignment = 4;

}  // namespace

void Multiplication::quantise(size_t chunk, size_t part) {
    npu_.activations.quantise_part(chunk, part);
}

Status Multiplication::sync(size_t round, size_t core, size_t run) {
    return RunExecutor(npu_.counters).tell(bound_run(round, core, run), failed_);
}

Status Multiplication::run(size_t round, size_t core, size_t run) {
    return RunExecutor(npu_.counters).run(bound_run(round, core, run), failed_);
}

const RunStrip& Multiplication::strip_of(size_t round) const {
    return batch_->strips[buffers_.shape.rounds[round].strip];
}

const BoundRun& Multiplication::bound_run(size_t round, size_t core, size_t run) const {
    return buffers_.bound[buffers_.first_bound[round] + strip_of(round).first_run[core] + run];
}

Multiplication::ShareCut Multiplication::cut_of(const RunStrip& strip, size_t rows) {
    const size_t fitting = std::max<size_t>(kElementsPerShare / std::max<size_t>(strip.columns, 1), 1);
    const size_t of_share = round_up(fitting, kShareAlignment);
    if (rows <= of_share) return {of_share, strip.tiles, strip.tiles};
    return {of_share, 1, ceil_div(rows, of_share)};
}

void Multiplication::dequantise(size_t round, size_t share) {
    const PhaseTimer timer(npu_.counters, Phase::kDequantise);
    const RunStrip& strip = strip_of(round);
    const RowChunk& chunk = cubes_->chunks[buffers_.shape.rounds[round].chunk];
    const ShareCut cut = cut_of(strip, chunk.count);
    const size_t first = share / cut.tiles * cut.rows;
    const RowSpan rows{round, first, std::min(cut.rows, chunk.count - first), first_row_ + chunk.m0 + first,
                       cut.tiles > 1 ? strip.first_tile + share % cut.tiles : SIZE_MAX};
    if (epilogue_ != nullptr) return to_epilogue(rows);
    add_results(rows, [&](const CellResult& cell) {
        const WeightPlan& plan = batch_->weights[cell.product]->plan;
        float* const out = products_[batch_->positions[cell.product]].out;
        return FloatRows{out + rows.m * plan.N + plan.tiles[cell.tile].n0, plan.N};
    });
}

template <typename TargetOf>
void Multiplication::add_results(const RowSpan& rows, const TargetOf& target_of) const {
    const size_t chunk = buffers_.shape.rounds[rows.round].chunk;
    const size_t first_cube = chunk * buffers_.shape.segments;
    const BoundRun* const bound = buffers_.bound.data() + buffers_.first_bound[rows.round];
    add_strip(
        batch_->weights, strip_of(rows.round), rows.tile,
        {rows.first, rows.count, cubes_->chunks[chunk].count, batch_->planes, cubes_->row_scales(first_cube),
         cubes_->row_sums(first_cube)},
        [&](size_t run) { return bound[run].written; }, target_of);
}

// The rows of all products in a thread's own memory, and from there to the epilogue.
void Multiplication::to_epilogue(const RowSpan& rows) const {
    thread_local std::vector<float> memory;
    thread_local std::vector<float*> results;
    const RunStrip& strip = strip_of(rows.round);
    const std::vector<NTile>& tiles = batch_->plan().tiles;
    const size_t products = batch_->weights.size();
    const bool one_tile = rows.tile != SIZE_MAX;
    const size_t n = tiles[one_tile ? rows.tile : strip.cells.front().tile].n0;
    const size_t columns = one_tile ? tiles[rows.tile].n_count : strip.columns / products;
    if (memory.size() < rows.count * strip.columns) memory.resize(rows.count * strip.columns);
    results.clear();
    for (size_t product = 0; product < products; ++product)
        results.push_back(memory.data() + product * rows.count * columns);
    add_results(rows, [&](const CellResult& cell) {
        return FloatRows{results[cell.product] + tiles[cell.tile].n0 - n, columns};
    });
    epilogue_->apply({rows.m, rows.count, n, columns, results, columns});
}

}  // namespace rknpu2
