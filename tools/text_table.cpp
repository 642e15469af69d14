// SPDX-License-Identifier: MIT
#include "text_table.hpp"

#include <algorithm>

#include "base/format.hpp"

namespace rknpu2 {

std::string TextTable::to_string(size_t indent) const {
    std::vector<size_t> widths(align_.size(), 0);
    for (const std::vector<std::string>& row : rows_) {
        for (size_t c = 0; c < row.size() && c < widths.size(); ++c)
            widths[c] = std::max(widths[c], row[c].size());
    }
    std::string text;
    for (const std::vector<std::string>& row : rows_) {
        std::string line(indent, ' ');
        for (size_t c = 0; c < row.size() && c < widths.size(); ++c) {
            const std::string padding(widths[c] - row[c].size(), ' ');
            if (c > 0) line += "  ";
            line += align_[c] == 'r' ? padding + row[c] : row[c] + padding;
        }
        line.erase(line.find_last_not_of(' ') + 1);
        text += line + "\n";
    }
    return text;
}

std::string human_bytes(uint64_t bytes) {
    constexpr const char* kUnits[] = {"kB", "MB", "GB", "TB", "PB", "EB"};
    if (bytes < 1000) return format("%u B", static_cast<unsigned>(bytes));
    auto value = static_cast<double>(bytes);
    size_t unit = 0;
    for (value /= 1000; value >= 999.95 && unit + 1 < std::size(kUnits); value /= 1000)
        ++unit;
    return format("%.1f %s", value, kUnits[unit]);
}

}  // namespace rknpu2
