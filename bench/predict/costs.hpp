// SPDX-License-Identifier: MIT
// What one step costs on a board: runs of the NPU by the simulator's rule, loops of the CPU by the bytes they
// touch.
//
// A weight is a grid of cells, K in segments and N in tiles, dealt to the three cores in turn: three cells
// are one round. More segments let a tile of activations have more rows, so that the weights are read less
// often; the price is that every further segment writes another matrix of int32 that the CPU adds. The cells
// are fixed when a weight is packed, so prefill and decode share them, and every round costs a run call.
#pragma once

#include <cstdint>
#include <vector>

#include "plan/cost_model.hpp"
#include "predict/board_profile.hpp"
#include "predict/timeline.hpp"

namespace rknpu2 {

// No more segments than a run's largest K asks for, and columns dealt to three cores evenly.
CellGrid smallest_grid(int64_t N, int64_t K, const BoardProfile& board);

// How the CPU's cache is kept in step with the NPU (src/device/coherency.hpp): not at all, as a board that
// did it by itself; by a system call for each buffer; or line by line, from the threads that touch the
// memory.
enum class Sync { kNone, kOwner, kLines };

// One operation for each round; their dependencies and order are the caller's. With Sync::kOwner a round has
// the calls around it as well: before it the activations of its segments, where it has new ones, and after it
// the results of its cores, three threads side by side.
std::vector<Operation> npu_rounds(int64_t rows, int64_t N, int64_t K, const CellGrid& grid, Sync sync,
                                  const BoardProfile& board);

// What Sync::kLines costs the loops over `bytes` of either.
double line_ns(double bytes, const BoardProfile& board);

// A loop of the CPU's team over matrices in memory.
Operation cpu_pass(double bytes, const BoardProfile& board);

// Flash attention of the rows first .. first + rows - 1 over all positions up to each.
Operation cpu_attention(int64_t first, int64_t rows, int64_t q_size, int64_t kv_size,
                        const BoardProfile& board);

}  // namespace rknpu2
