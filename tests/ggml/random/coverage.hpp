// What drawn graphs contain: a table of operations by properties of the graphs that they stand in, and a list
// of what else is there. Told from the recipes alone.
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
    // As tables of a page in Markdown.
    std::string text() const;

  private:
    static constexpr size_t kColumns = 16;
    static const std::array<const char*, kColumns> kNames;
    static std::array<bool, kColumns> columns_of(const Recipe& recipe);
    void add_features(const Recipe& recipe);

    std::map<std::string, std::array<uint64_t, kColumns>> operations_;
    std::map<std::string, uint64_t> features_;  // graphs
    uint64_t graphs_ = 0;
};

}  // namespace rknpu2::test
