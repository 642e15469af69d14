// SPDX-License-Identifier: MIT
// An attention in pieces for one core of the NPU: rows of a KV head (AttentionPieces), and a block of kAttentionBlock
// positions at a multiple of it. Units that no row sees are left out.
#pragma once

#include "attention/kv_cells.hpp"
#include "runs/bound_run.hpp"

namespace rknpu2 {

struct AttentionUnit {
    size_t block = 0;
    size_t head = 0;  // KV head
    size_t row = 0;
    size_t rows = 0;
    // Positions that the first product computes: as far as some row sees them, rounded up.
    size_t columns = 0;
    size_t positions = 0;  // those of them that there are
    bool plain = false;    // every row sees them all
    std::array<bool, kPartsOfBlock> sees{};
    std::array<bool, kPartsOfBlock> multiplies{};  // by values, which parts of value_depth() positions
    size_t core = 0;
    size_t state = 0;  // its first row among what the blocks of running units have given
    std::array<uint16_t*, kPartsOfBlock> weights{};
    BoundRun scores;
    std::array<BoundRun, kPartsOfBlock> values;

    bool has_rows_of(const AttentionUnit& other) const { return head == other.head && row == other.row; }
};

// In which pieces each KV head is.
inline AttentionPieces pieces_of(const AttentionProblem& problem) {
    return {problem.tokens, problem.group()};
}

// What some rows of a KV head see of a block.
struct SeenOfBlock {
    size_t end = 0;    // behind the last position that one of them sees; 0: they see none
    size_t plain = 0;  // Visibility::plain_of(), of the block
};
SeenOfBlock seen_of_block(const AttentionProblem& problem, const Visibility& visibility, size_t block,
                          size_t row, size_t rows);

// Block by block, so that what a row gets is added in the order of positions.
std::vector<AttentionUnit> units_of(const AttentionProblem& problem, const Visibility& visibility);

}  // namespace rknpu2
