// SPDX-License-Identifier: MIT
// How much one multiplication may hold of an address space of the NPU, and in how many pieces. The executor goes
// by these numbers, and support() refuses what would not fit them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "soc/rk3588.hpp"

namespace rknpu2 {

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
