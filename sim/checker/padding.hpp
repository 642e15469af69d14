// SPDX-License-Identifier: MIT
// Is the padding of K zero? The chip multiplies it like everything else.
//
// The interface takes no K but the padded one, so a program either says how much of it is its own
// (rknnsim_declare_k), or its weights are looked at: a few k at the end that are zero for every n are taken
// for padding, unless B has so few columns that it may be chance.
#pragma once

#include "core/context.hpp"

namespace rknnsim {

// Returns whether all elements of A or B (as `operand` says) with k in [from, K) are zero, as the CPU sees
// them. `rows` is M.
bool padding_is_zero(const Problem& problem, const BoundOperand& operand, size_t rows, size_t from);

// Returns how many of the last k are zero in B for every n, 1 to 31. Returns 0 when none are, and when all 32
// of the last tile are, which is not what padding looks like. Remembered in the memory until the data change.
size_t zero_tail(const Problem& problem, const BoundOperand& b);

}  // namespace rknnsim
