// SPDX-License-Identifier: MIT
// Makes a recipe that fails shorter for as long as it fails in the same way.
#pragma once

#include "ggml/random/judge.hpp"

namespace rknpu2::test {

// The shortest found; at most `attempts` are judged, each by the same processes unless `fresh`.
Recipe shrink(const Recipe& recipe, const std::string& kind, Judge& judge, int attempts, bool fresh);

}  // namespace rknpu2::test
