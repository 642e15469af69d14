// SPDX-License-Identifier: MIT
// Engines whose figures are published (bench/published/engines.csv), and how far the model with one profile is from a token
// of those that say what their runs were. scripts/fit_profile.py does so for single multiplications.
#pragma once

#include <string>
#include <vector>

#include "predict/board_profile.hpp"

namespace rknpu2 {

struct PublishedEngine {
    std::string engine, model, source;
    int64_t tokens = 0;      // of the prompt
    double prefill_tps = 0;  // 0: not published
    double decode_tps = 0;
    // What a token takes by the engine's own account, where there is one (else rounds is 0): rounds of runs,
    // gigabytes of weights, microseconds to wake the threads of a round, bindings and syncs, and the CPU's
    // loops.
    double rounds = 0, weight_gb = 0, wake_us = 0, calls = 0, cpu_ms = 0;
};

Result<std::vector<PublishedEngine>> published_engines(const std::string& csv, const std::string& file);

// How far a modelled token may be off, as a share, up or down.
inline constexpr double kEngineBar = 0.25;

// Tokens a second.
struct CheckRow {
    std::string what, source;
    double published = 0, modelled = 0;

    double error() const { return modelled / published - 1; }
    bool ok() const { return error() <= kEngineBar && error() >= -kEngineBar; }
};

// A row for each engine that has an account of its token.
Result<std::vector<CheckRow>> check_model(const BoardProfile& board);

std::string check_text(const std::vector<CheckRow>& rows);

}  // namespace rknpu2
