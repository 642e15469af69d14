// SPDX-License-Identifier: MIT
#include "attention/attention_units.hpp"

namespace rknpu2 {
namespace {

// What the unit's rows see of its block; false: nothing.
bool see(const AttentionProblem& problem, const Visibility& visibility, AttentionUnit& unit) {
    const size_t first = unit.row / problem.group();
    const size_t tokens = (unit.row + unit.rows - 1) / problem.group() + 1 - first;
    unit.plain = true;
    for (size_t part = 0; part < kPartsOfBlock; ++part) {
        const size_t at = unit.block * kPartsOfBlock + part;
        if (at >= visibility.parts()) break;
        const Visibility::Sees sees = visibility.of(at, first, tokens);
        unit.sees[part] = sees != Visibility::Sees::kNothing;
        if (unit.sees[part]) unit.positions = part * kValueBlock + visibility.end_of(at, first, tokens);
        unit.plain = unit.plain && sees == Visibility::Sees::kEverything;
    }
    const size_t begin = unit.block * kAttentionBlock;
    unit.columns = round_up(unit.positions, kColumnStep);
    unit.positions = std::min(unit.columns, problem.positions - begin);
    return unit.positions > 0;
}

}  // namespace

SeenOfBlock seen_of_block(const AttentionProblem& problem, const Visibility& visibility, size_t block,
                          size_t row, size_t rows) {
    const size_t first = row / problem.group();
    const size_t tokens = (row + rows - 1) / problem.group() + 1 - first;
    SeenOfBlock seen;
    for (size_t part = 0; part < kPartsOfBlock; ++part) {
        const size_t at = block * kPartsOfBlock + part;
        if (at >= visibility.parts()) break;
        const size_t end = visibility.end_of(at, first, tokens);
        if (end == 0) continue;
        seen.end = part * kValueBlock + end;
        if (seen.plain == part * kValueBlock) seen.plain += visibility.plain_of(at, first, tokens);
    }
    return seen;
}

std::vector<AttentionUnit> units_of(const AttentionProblem& problem, const Visibility& visibility) {
    std::vector<AttentionUnit> units;
    const AttentionPieces pieces = pieces_of(problem);
    for (size_t block = 0; block < ceil_div(problem.positions, kAttentionBlock); ++block) {
        for (size_t piece = 0; piece < problem.kv_heads * pieces.count; ++piece) {
            AttentionUnit unit;
            unit.block = block;
            unit.head = piece / pieces.count;
            unit.row = pieces.first(piece % pieces.count);
            unit.rows = pieces.rows(piece % pieces.count);
            if (see(problem, visibility, unit)) units.push_back(unit);
        }
    }
    return units;
}

}  // namespace rknpu2
