// SPDX-License-Identifier: MIT
#include "predict/published.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <sstream>
#include <utility>

#include "base/format.hpp"

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

// The largest number of elements, rows or tokens, and the largest rate or time.
constexpr double kMost = 1e12;

// An empty cell is 0.
Result<double> number(const CsvRow& row, const std::string& column, const std::string& file) {
    const auto found = row.find(column);
    if (found == row.end()) {
        return Status(StatusCode::kInvalidArgument, file + ": there is no column " + column);
    }
    char* end = nullptr;
    const double value = std::strtod(found->second.c_str(), &end);
    if (end != found->second.c_str() + found->second.size() || !(value >= 0 && value <= kMost)) {
        return Status(StatusCode::kInvalidArgument,
                      format("%s: \"%s\" in column %s is no number from 0 to 1e12", file.c_str(),
                             printable(found->second).c_str(), column.c_str()));
    }
    return value;
}

std::string cell(const CsvRow& row, const std::string& column) {
    const auto found = row.find(column);
    return found == row.end() ? std::string() : found->second;
}

}  // namespace

Result<std::vector<CsvRow>> parse_csv(const std::string& text, const std::string& file) {
    std::istringstream lines(text);
    std::string line;
    std::vector<std::string> header;
    std::vector<CsvRow> rows;
    for (int number = 1; std::getline(lines, line); ++number) {
        if (line.empty()) continue;
        const std::vector<std::string> cells = split(line);
        if (header.empty()) {
            header = cells;
            continue;
        }
        if (cells.size() != header.size()) {
            return Status(StatusCode::kInvalidArgument,
                          format("%s:%d: %zu cells, but the header has %zu", file.c_str(), number,
                                 cells.size(), header.size()));
        }
        CsvRow row;
        for (size_t i = 0; i < cells.size(); ++i)
            row[header[i]] = cells[i];
        rows.push_back(std::move(row));
    }
    return rows;
}

Result<std::vector<PublishedMatmul>> published_matmuls(const std::string& csv, const std::string& file) {
    const Result<std::vector<CsvRow>> rows = parse_csv(csv, file);
    if (!rows.ok()) return rows.status();
    std::vector<PublishedMatmul> matmuls;
    for (const CsvRow& row : rows.value()) {
        if (cell(row, "check") != "yes") continue;
        std::map<std::string, double> values;
        for (const char* column : {"m", "k", "n", "cores", "matmuls", "time_us", "gops", "calls"}) {
            const Result<double> value = number(row, column, file);
            if (!value.ok()) return value.status();
            values[column] = value.value();
        }
        PublishedMatmul matmul{.M = static_cast<int64_t>(values["m"]),
                               .K = static_cast<int64_t>(values["k"]),
                               .N = static_cast<int64_t>(values["n"]),
                               .type = cell(row, "a_type"),
                               .native = cell(row, "ac_layout") == "native",
                               .half_results = cell(row, "c_type") == "fp16",
                               .cores = static_cast<int>(values["cores"]),
                               .dealt = cell(row, "spread") != "matmuls",
                               .matmuls = std::max<int64_t>(1, static_cast<int64_t>(values["matmuls"])),
                               .calls = values["calls"],
                               .gops = values["gops"],
                               .time_us = values["time_us"],
                               .how = cell(row, "how"),
                               .source = cell(row, "source")};
        const bool sized = matmul.M > 0 && matmul.K > 0 && matmul.N > 0 && matmul.cores > 0;
        if (!sized || (matmul.gops == 0 && matmul.time_us == 0)) {
            return Status(StatusCode::kInvalidArgument,
                          file + ": a row to be checked has no m, k, n, cores, or neither time_us nor gops");
        }
        const double operations =
            2 * values["m"] * values["k"] * values["n"] * static_cast<double>(matmul.matmuls);
        if (matmul.gops == 0) matmul.gops = operations / matmul.time_us * 1e-3;
        if (matmul.time_us == 0) matmul.time_us = operations / matmul.gops * 1e-3;
        int tile_rows = 0;
        if (std::sscanf(matmul.how.c_str(), "tiles of %d rows", &tile_rows) == 1)
            matmul.tile_rows = tile_rows;
        matmuls.push_back(std::move(matmul));
    }
    return matmuls;
}

Result<std::vector<PublishedEngine>> published_engines(const std::string& csv, const std::string& file) {
    const Result<std::vector<CsvRow>> rows = parse_csv(csv, file);
    if (!rows.ok()) return rows.status();
    std::vector<PublishedEngine> engines;
    for (const CsvRow& row : rows.value()) {
        PublishedEngine engine{.engine = cell(row, "engine"),
                               .model = cell(row, "model"),
                               .source = cell(row, "source"),
                               .check = cell(row, "check")};
        for (const auto& [column, value] : {std::pair{"rounds", &engine.rounds},
                                            {"weight_gb", &engine.weight_gb},
                                            {"wake_us", &engine.wake_us},
                                            {"calls", &engine.calls},
                                            {"cpu_ms", &engine.cpu_ms}}) {
            const Result<double> read = number(row, column, file);
            if (!read.ok()) return read.status();
            *value = read.value();
        }
        const Result<double> tokens = number(row, "tokens", file), prefill = number(row, "prefill_tps", file),
                             decode = number(row, "decode_tps", file);
        for (const Result<double>* value : {&tokens, &prefill, &decode})
            if (!value->ok()) return value->status();
        engine.tokens = static_cast<int64_t>(tokens.value());
        engine.prefill_tps = prefill.value();
        engine.decode_tps = decode.value();
        engines.push_back(std::move(engine));
    }
    return engines;
}

}  // namespace rknpu2
