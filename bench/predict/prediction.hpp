// SPDX-License-Identifier: MIT
// What the model says of one language model under one design: prefill and decode, and where the time goes.
#pragma once

#include "predict/stages.hpp"

namespace rknpu2 {

struct Goal {
    int64_t prompt = 512;   // tokens
    int64_t context = 512;  // tokens before those that decode is modelled for
    int64_t rows = 1;       // such tokens at once: of a draft, or of other sequences
};

struct PhaseTime {
    std::string phase;
    double busy_ns = 0;      // by what the servers did; phases overlap
    double critical_ns = 0;  // of the critical path: all phases add up to the time of the pass
};

struct PassResult {
    double seconds = 0;
    double tokens_per_second = 0;
    std::vector<PhaseTime> phases;  // in the order in which they first appear
    Utilisation whole;              // of the pass
    Utilisation steady;             // of its middle half
    Counts counts;
};

struct Prediction {
    Setting setting;
    Goal goal;
    PassResult prefill;
    PassResult decode;         // `goal.rows` tokens after `goal.context` others
    double peak_share = 0;     // of the NPU's int8 peak, by the layers' multiplications of the model: prefill
    double weights_share = 0;  // of the memory's rate, by the weights that a token needs: decode
    double needed_share = 0;   // by the weights and the KV cache
};

// What decode is compared with: the highest rate that published figures of the board come to, 28.6 GB/s.
inline constexpr double kDecodeReferenceGbps = 28.6;

Prediction predict(const Setting& setting, const Goal& goal);

std::string predictions_text(const std::vector<Prediction>& predictions);
std::string predictions_csv(const std::vector<Prediction>& predictions);
std::string predictions_json(const std::vector<Prediction>& predictions);

}  // namespace rknpu2
