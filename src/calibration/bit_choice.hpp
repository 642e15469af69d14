// SPDX-License-Identifier: MIT
// Which weights of a model keep eight bits with the precision `compact`, whose others have four.
//
// The output head always does: its error is the next token's, and it weighs more than the rest together. The budget
// of GGML_RKNPU2_COMPACT_BYTES, in bytes a weight over all weights with statistics, says what else: first k and v,
// which are small, then down, then the attention's output, q, and gate and up; within a kind first what was measured
// to lose most for its bytes when its activations are coarser (one_plane_divergence; docs/quality.md). The last kind is
// one of which at least half fits: a few of its weights would gain little, and cost each token time. Where the head alone takes the budget, the budget is one of the other weights.
//
// Weights without second moments keep eight bits: four would be poor.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "calibration/activation_stats.hpp"

namespace rknpu2 {

enum class BitReason {
    kFour,
    kOutput,          // eight bits: the output head
    kSensitive,       // eight bits: within the budget
    kWithoutMoments,  // eight bits: nothing is known of its activations
};
const char* bit_reason_text(BitReason reason);

struct BitDecision {
    size_t bits;  // 4 or 8
    BitReason reason;
};

// A weight as the choice sees it.
struct BitCandidate {
    std::string_view name;  // the tensor's, or a part that tells its kind
    double weights = 0;
    bool fixed = false;  // has eight bits anyway
    double loss = 0;     // what one plane of activations loses, for each weight
};
// For each, in their order: does it keep eight bits? Of equal ones the first do.
std::vector<bool> eight_bits_kept(std::span<const BitCandidate> candidates, double bytes_a_weight);

// By tensor name, for every entry.
using BitChoice = std::map<std::string, BitDecision>;
BitChoice choose_bits(const ModelStats& statistics, double bytes_a_weight);

}  // namespace rknpu2
