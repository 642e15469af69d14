// SPDX-License-Identifier: MIT
// Rows of text in aligned columns, for people.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace rknpu2 {

class TextTable {
  public:
    // `align`: one letter for each column, 'l' or 'r'.
    explicit TextTable(std::string align) : align_(std::move(align)) {}

    void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
    // Columns two spaces apart, `indent` spaces before the first, nothing after the last.
    std::string to_string(size_t indent = 0) const;

  private:
    std::string align_;
    std::vector<std::vector<std::string>> rows_;
};

// "1536", "3 MB", "1.2 GB": decimal units, three digits or so.
std::string human_bytes(uint64_t bytes);

}  // namespace rknpu2
