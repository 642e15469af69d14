// SPDX-License-Identifier: MIT
// How far the model is from what was published, with one profile: single multiplications, then a token of
// whole engines.
#pragma once

#include <string>
#include <vector>

#include "predict/board_profile.hpp"
#include "predict/published.hpp"

namespace rknpu2 {

struct CheckRow {
    std::string what, unit, source;
    double published = 0, modelled = 0;
    double bar = 0;  // the share that it may be off, up or down

    double error() const { return modelled / published - 1; }
    bool ok() const { return error() <= bar && error() >= -bar; }
};

inline constexpr double kMatmulBar = 0.20;
inline constexpr double kEngineBar = 0.25;

// One multiplication as the simulator's rule has it, with the run call, what else was timed with it, and the
// conversion of C for normal layouts.
double modelled_us(const PublishedMatmul& matmul, const BoardProfile& board);

Result<std::vector<CheckRow>> check_model(const BoardProfile& board);

std::string check_text(const std::vector<CheckRow>& rows);

}  // namespace rknpu2
