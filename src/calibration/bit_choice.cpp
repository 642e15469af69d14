// SPDX-License-Identifier: MIT
#include "calibration/bit_choice.hpp"

#include <algorithm>
#include <array>
#include <tuple>
#include <vector>

namespace rknpu2 {
namespace {

constexpr double kFourBits = 0.5;  // bytes
constexpr double kEightBits = 1.0;

// By BitReason.
constexpr const char* kReasons[] = {"four bits", "output head: eight bits", "eight bits: within the budget",
                                    "eight bits: no second moments"};

// What llama.cpp's models call a kind of weight; the most sensitive for its bytes first.
constexpr std::array<std::array<const char*, 2>, 5> kKinds = {{{"attn_k.", "attn_v."},
                                                               {"ffn_down.", "ffn_down."},
                                                               {"attn_output.", "attn_output."},
                                                               {"attn_q.", "attn_qkv."},
                                                               {"ffn_gate.", "ffn_up."}}};

size_t kind_of(const std::string& name) {
    const auto names = [&](const auto& kind) {
        return std::any_of(kind.begin(), kind.end(),
                           [&](const char* part) { return name.find(part) != std::string::npos; });
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

BitChoice choose_bits(const ModelStats& statistics, double bytes_a_weight) {
    BitChoice choice;
    std::vector<const ModelStats::value_type*> candidates;
    double fixed = 0;  // weights that have eight bits anyway
    double others = 0;
    for (const auto& item : statistics) {
        const ActivationStats& entry = item.second;
        if (entry.output || entry.moments == nullptr) {
            choice[item.first] = {8, entry.output ? BitReason::kOutput : BitReason::kWithoutMoments};
            fixed += weights_of(entry);
        } else {
            candidates.push_back(&item);
            others += weights_of(entry);
        }
    }
    double left = bytes_a_weight * (fixed + others) - kEightBits * fixed - kFourBits * others;
    if (left < 0) left = (bytes_a_weight - kFourBits) * others;
    // Ties go by name: the choice is the same everywhere.
    const auto rank = [](const auto* item) {
        const double loss = static_cast<double>(item->second.one_plane_divergence) / weights_of(item->second);
        return std::tuple(kind_of(item->first), -loss);
    };
    std::stable_sort(candidates.begin(), candidates.end(),
                     [&](const auto* a, const auto* b) { return rank(a) < rank(b); });
    for (const auto* item : candidates) {
        const double more = (kEightBits - kFourBits) * weights_of(item->second);
        const bool fits = more <= left;
        if (fits) left -= more;
        choice[item->first] = fits ? BitDecision{8, BitReason::kSensitive} : BitDecision{4, BitReason::kFour};
    }
    return choice;
}

}  // namespace rknpu2
