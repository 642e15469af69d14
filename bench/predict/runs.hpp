// SPDX-License-Identifier: MIT
// Runs of the NPU that a product consists of, and what they cost by the simulator's rule.
//
// A weight is a grid of cells, K in segments and N in tiles, dealt to the three cores in turn: three cells
// are one round. More segments let a tile of activations have more rows, so that the weights are read less
// often; the price is that every further segment writes another matrix of int32 that the CPU adds. The cells
// are fixed when a weight is packed, so prefill and decode share them, and every round costs a run call.
#pragma once

#include <cstdint>
#include <vector>

#include "plan/cost_model.hpp"
#include "plan/weight_plan.hpp"
#include "predict/board_profile.hpp"
#include "predict/timeline.hpp"
#include "timing/work.hpp"

namespace rknpu2 {

// No more segments than a run's largest K asks for, and columns dealt to three cores evenly.
CellGrid smallest_grid(int64_t N, int64_t K, const BoardProfile& board);

// One run of a product: columns of a segment, paddings included.
struct ProductRun {
    size_t core = 0, segment = 0;
    size_t K = 0, N = 0;
    NpuArithmetic arithmetic = NpuArithmetic::kInt8;
};
// Cells of a grid, all of them alike.
std::vector<ProductRun> even_runs(int64_t N, int64_t K, const CellGrid& grid);
// Those of weights that the plug-in multiplies together (RunList::fill): tile by tile, what a core has of all of them
// is one run, up to the widest.
std::vector<ProductRun> joined_runs(const std::vector<WeightPlan>& plans);

// How the CPU's cache is kept in step with the NPU (src/device/coherency.hpp): not at all, as a board that
// did it by itself; by a system call for each buffer; or line by line, from the threads that touch the
// memory.
enum class Sync { kNone, kOwner, kLines };

// One call that syncs a buffer for so many bytes: the whole buffer, and buffers come in sizes of which each is a quarter larger than the
// last.
double sync_ns(double bytes, const BoardProfile& board);

// A run on that core.
Operation run_on_core(size_t core, const rknnsim::MatmulShape& shape, const BoardProfile& board);

// One operation for each run, in rounds of one a core. They wait for all of the round before; the rest of their
// dependencies and their order are the caller's. With Sync::kOwner a run has the calls around it as well: before it the
// activations of the round's segments, where it has new ones, and after it the results of its core.
std::vector<Operation> npu_rounds(int64_t rows, const std::vector<ProductRun>& runs, Sync sync,
                                  const BoardProfile& board);
// The same as a job of a flow: a core does not wait for others. All that it does is one operation, unless something
// may come between its runs.
std::vector<Operation> job_of(const std::vector<Operation>& rounds, bool something_between);

}  // namespace rknpu2
