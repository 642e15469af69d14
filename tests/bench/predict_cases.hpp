// SPDX-License-Identifier: MIT
// What the tests of rknpu2-bench predict share.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "predict/prediction.hpp"

namespace rknpu2 {

inline BoardProfile shipped_board() {
    const Result<BoardProfile> board = load_board_profile();
    EXPECT_TRUE(board.ok()) << board.status().message();
    return board.value();
}

inline Setting setting_of(const std::string& model, Design design, Planes planes = Planes::kFast) {
    return {.model = find_model_shape(model).value(),
            .design = design,
            .planes = planes,
            .board = shipped_board()};
}

inline Prediction predict_for(const std::string& model, Design design, Planes planes = Planes::kFast) {
    return predict(setting_of(model, design, planes), {});
}

}  // namespace rknpu2
