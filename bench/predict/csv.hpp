// SPDX-License-Identifier: MIT
// Tables of comma-separated values with a header; cells in double quotes may hold commas and quotes.
//
// Read what you need and then look at status(): it is the first thing that was wrong, with the file and the
// line where there is one.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "base/status.hpp"

namespace rknpu2 {

class CsvTable {
  public:
    // `file` is for messages only. A row with another number of cells than the header is an error.
    CsvTable(const std::string& text, std::string file);

    size_t rows() const { return rows_.size(); }
    // "" when there is no such column.
    std::string text(size_t row, const std::string& column) const;
    // 0 for an empty cell. No such column, and what is no number from `low` to `high`, are errors.
    double number(size_t row, const std::string& column, double low = 0, double high = 1e12);
    int64_t integer(size_t row, const std::string& column, double low = 0, double high = 1e12);

    const Status& status() const { return status_; }

  private:
    struct Row {
        int line;
        std::vector<std::string> cells;
    };

    const std::string* find(size_t row, const std::string& column) const;
    void malformed(const std::string& what);  // unless something was wrong before

    std::string file_;
    std::vector<std::string> header_;
    std::vector<Row> rows_;
    Status status_;
};

// The header and a line for each row, an array or object: its values in their order, those of nested ones among
// them. Null is an empty cell.
std::string csv_text(const std::string& header, const std::vector<nlohmann::ordered_json>& rows);

// Text files that are compiled in, so that the program can be copied to a board alone.
const char* embedded_models();  // bench/models.csv
const char* embedded_board();   // bench/profiles/board.profile

}  // namespace rknpu2
