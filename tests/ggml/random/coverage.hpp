// SPDX-License-Identifier: MIT
// Counts what drawn graphs contain: operations by the kind of graph that they stand in, and what else is
// there. It reads the recipes alone and computes nothing.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>

#include "ggml/random/recipe.hpp"

namespace rknpu2::test {

class Coverage {
  public:
    void add(const Recipe& recipe);
    // The rows of docs/measurements/random-graphs.csv. A row "nodes" counts the nodes of one operation, by
    // what their graphs are like. A row "graphs" counts the graphs that have what it names, in the first
    // column only.
    std::string csv() const;

  private:
    static constexpr size_t kColumns = 16;
    static const std::array<const char*, kColumns> kNames;
    static std::array<bool, kColumns> columns_of(const Recipe& recipe);
    void add_features(const Recipe& recipe);

    std::map<std::string, std::array<uint64_t, kColumns>> operations_;
    std::map<std::string, uint64_t> features_;  // graphs
};

}  // namespace rknpu2::test
