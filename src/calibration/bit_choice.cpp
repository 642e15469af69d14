// SPDX-License-Identifier: MIT
#include "calibration/bit_choice.hpp"

#include <algorithm>
#include <array>
#include <numeric>
#include <tuple>
#include <utility>

namespace rknpu2 {
namespace {

constexpr double kFourBits = 0.5;  // bytes
constexpr double kEightBits = 1.0;
constexpr double kLeastOfKind = 0.5;

// By BitReason.
constexpr const char* kReasons[] = {"four bits", "output head: eight bits", "eight bits: within the budget",
                                    "eight bits: no second moments"};

// What llama.cpp's models call a kind of weight; the most sensitive for its bytes first.
constexpr std::array<std::array<const char*, 2>, 5> kKinds = {{{"attn_k.", "attn_v."},
                                                               {"ffn_down.", "ffn_down."},
                                                               {"attn_output.", "attn_output."},
                                                               {"attn_q.", "attn_qkv."},
                                                               {"ffn_gate.", "ffn_up."}}};

size_t kind_of(std::string_view name) {
    const auto names = [&](const auto& kind) {
        return std::any_of(kind.begin(), kind.end(),
                           [&](const char* part) { return name.find(part) != std::string_view::npos; });
    };
    return static_cast<size_t>(std::find_if(kKinds.begin(), kKinds.end(), names) - kKinds.begin());
}

double weights_of(const ActivationStats& entry) {
    return static_cast<double>(entry.N) * static_cast<double>(entry.K);
}

}  // namespace

const char* bit_reason_text(BitReason reason) {
    return kReasons[static_cast<size_t>(reason)];
}

std::vector<bool> eight_bits_kept(std::span<const BitCandidate> candidates, double bytes_a_weight) {
    std::vector<bool> kept;
    double fixed = 0, others = 0;
    for (const BitCandidate& weight : candidates) {
        kept.push_back(weight.fixed);
        (weight.fixed ? fixed : others) += weight.weights;
    }
    double left = bytes_a_weight * (fixed + others) - kEightBits * fixed - kFourBits * others;
    if (left < 0) left = (bytes_a_weight - kFourBits) * others;
    std::vector<size_t> order(candidates.size());
    std::iota(order.begin(), order.end(), size_t{0});
    const auto rank = [&](size_t i) {
        return std::tuple(kind_of(candidates[i].name), -candidates[i].loss, i);
    };
    std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return rank(a) < rank(b); });
    std::array<double, kKinds.size() + 1> wanted{};  // by kind: what eight bits for all of it take
    for (const BitCandidate& weight : candidates)
        if (!weight.fixed) wanted[kind_of(weight.name)] += (kEightBits - kFourBits) * weight.weights;
    size_t kind = SIZE_MAX;
    for (const size_t i : order) {
        const size_t its = kind_of(candidates[i].name);
        if (its != std::exchange(kind, its) && left < kLeastOfKind * wanted[its]) break;
        const double more = (kEightBits - kFourBits) * candidates[i].weights;
        if (candidates[i].fixed || more > left) continue;
        left -= more;
        kept[i] = true;
    }
    return kept;
}

// Ties go by name: the choice is the same everywhere.
BitChoice choose_bits(const ModelStats& statistics, double bytes_a_weight) {
    std::vector<BitCandidate> candidates;
    for (const auto& [name, entry] : statistics) {
        candidates.push_back({.name = name,
                              .weights = weights_of(entry),
                              .fixed = entry.output || entry.moments == nullptr,
                              .loss = static_cast<double>(entry.one_plane_divergence) / weights_of(entry)});
    }
    const std::vector<bool> kept = eight_bits_kept(candidates, bytes_a_weight);
    BitChoice choice;
    for (const auto& [name, entry] : statistics) {
        const BitReason reason = entry.output               ? BitReason::kOutput
                                 : entry.moments == nullptr ? BitReason::kWithoutMoments
                                 : kept[choice.size()]      ? BitReason::kSensitive
                                                            : BitReason::kFour;
        choice[name] = {reason == BitReason::kFour ? size_t{4} : size_t{8}, reason};
    }
    return choice;
}

}  // namespace rknpu2
