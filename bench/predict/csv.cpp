// SPDX-License-Identifier: MIT
#include "predict/csv.hpp"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/format.hpp"
#include "base/key_values.hpp"

namespace rknpu2 {
namespace {

std::vector<std::string> split(const std::string& line) {
    std::vector<std::string> cells(1);
    bool quoted = false;
    for (size_t i = 0; i < line.size(); ++i) {
        const char c = line[i];
        if (c == '"' && quoted && i + 1 < line.size() && line[i + 1] == '"') {
            cells.back() += line[++i];
        } else if (c == '"') {
            quoted = !quoted;
        } else if (c == ',' && !quoted) {
            cells.emplace_back();
        } else if (c != '\r') {
            cells.back() += c;
        }
    }
    return cells;
}

}  // namespace

CsvTable::CsvTable(const std::string& text, std::string file) : file_(std::move(file)) {
    std::istringstream lines(text);
    std::string line;
    for (int number = 1; std::getline(lines, line); ++number) {
        if (line.empty()) continue;
        std::vector<std::string> cells = split(line);
        if (header_.empty()) {
            header_ = std::move(cells);
        } else if (cells.size() == header_.size()) {
            rows_.push_back({number, std::move(cells)});
        } else {
            malformed(format(":%d: %zu cells, but the header has %zu", number, cells.size(), header_.size()));
        }
    }
}

const std::string* CsvTable::find(size_t row, const std::string& column) const {
    const auto found = std::find(header_.begin(), header_.end(), column);
    if (found == header_.end()) return nullptr;
    return &rows_[row].cells[static_cast<size_t>(found - header_.begin())];
}

std::string CsvTable::text(size_t row, const std::string& column) const {
    const std::string* const cell = find(row, column);
    return cell == nullptr ? std::string() : *cell;
}

void CsvTable::malformed(const std::string& what) {
    if (status_.ok()) status_ = {StatusCode::kInvalidArgument, file_ + what};
}

double CsvTable::number(size_t row, const std::string& column, double low, double high) {
    const std::string* const cell = find(row, column);
    if (cell == nullptr) {
        malformed(": there is no column " + column);
        return 0;
    }
    const std::optional<double> value = cell->empty() ? 0 : parse_number(*cell);
    if (value && *value >= low && *value <= high) return *value;
    malformed(format(":%d: \"%s\" in column %s is no number from %.10g to %.10g", rows_[row].line,
                     printable(*cell).c_str(), column.c_str(), low, high));
    return 0;
}

int64_t CsvTable::integer(size_t row, const std::string& column, double low, double high) {
    const double value = number(row, column, low, high);
    if (value != std::floor(value))
        malformed(format(":%d: %s is %.10g, but must be an integer", rows_[row].line, column.c_str(), value));
    return static_cast<int64_t>(value);
}

std::string csv_text(const std::string& header, const std::vector<nlohmann::ordered_json>& rows) {
    std::string text = header + "\n";
    for (const nlohmann::ordered_json& row : rows) {
        const char* separator = "";
        const nlohmann::ordered_json flat = row.flatten();
        for (const auto& [name, value] : flat.items()) {
            text += separator;
            separator = ",";
            if (value.is_null()) continue;
            const std::string cell = value.dump();
            const bool plain = !value.is_string() || cell.find(',') == std::string::npos;
            text += value.is_string() && plain ? value.get<std::string>() : cell;
        }
        text += '\n';
    }
    return text;
}

}  // namespace rknpu2
