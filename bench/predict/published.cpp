// SPDX-License-Identifier: MIT
#include "predict/published.hpp"

#include <algorithm>
#include <cstdio>

#include "predict/csv.hpp"

namespace rknpu2 {

Result<std::vector<PublishedMatmul>> published_matmuls(const std::string& csv, const std::string& file) {
    CsvTable table(csv, file);
    std::vector<PublishedMatmul> matmuls;
    for (size_t row = 0; row < table.rows(); ++row) {
        if (table.text(row, "check") != "yes") continue;
        PublishedMatmul matmul{
            .M = table.integer(row, "m"),
            .K = table.integer(row, "k"),
            .N = table.integer(row, "n"),
            .type = table.text(row, "a_type"),
            .native = table.text(row, "ac_layout") == "native",
            .half_results = table.text(row, "c_type") == "fp16",
            .cores = static_cast<int>(table.integer(row, "cores", 0, 3)),
            .dealt = table.text(row, "spread") != "matmuls",
            .matmuls = std::max<int64_t>(1, table.integer(row, "matmuls")),
            .calls = table.number(row, "calls"),
            .gops = table.number(row, "gops"),
            .time_us = table.number(row, "time_us"),
            .how = table.text(row, "how"),
            .source = table.text(row, "source"),
        };
        RKNPU2_RETURN_IF_ERROR(table.status());
        const bool sized = matmul.M > 0 && matmul.K > 0 && matmul.N > 0 && matmul.cores > 0;
        if (!sized || (matmul.gops == 0 && matmul.time_us == 0)) {
            return Status(StatusCode::kInvalidArgument,
                          file + ": a row to be checked has no m, k, n, cores, or neither time_us nor gops");
        }
        const double operations = 2.0 * static_cast<double>(matmul.M) * static_cast<double>(matmul.K) *
                                  static_cast<double>(matmul.N) * static_cast<double>(matmul.matmuls);
        if (matmul.gops == 0) matmul.gops = operations / matmul.time_us * 1e-3;
        if (matmul.time_us == 0) matmul.time_us = operations / matmul.gops * 1e-3;
        int tile_rows = 0;
        if (std::sscanf(matmul.how.c_str(), "tiles of %d rows", &tile_rows) == 1)
            matmul.tile_rows = tile_rows;
        matmuls.push_back(std::move(matmul));
    }
    RKNPU2_RETURN_IF_ERROR(table.status());
    return matmuls;
}

Result<std::vector<PublishedEngine>> published_engines(const std::string& csv, const std::string& file) {
    CsvTable table(csv, file);
    std::vector<PublishedEngine> engines;
    for (size_t row = 0; row < table.rows(); ++row) {
        engines.push_back({
            .engine = table.text(row, "engine"),
            .model = table.text(row, "model"),
            .source = table.text(row, "source"),
            .tokens = table.integer(row, "tokens"),
            .prefill_tps = table.number(row, "prefill_tps"),
            .decode_tps = table.number(row, "decode_tps"),
            .rounds = table.number(row, "rounds"),
            .weight_gb = table.number(row, "weight_gb"),
            .wake_us = table.number(row, "wake_us"),
            .calls = table.number(row, "calls"),
            .cpu_ms = table.number(row, "cpu_ms"),
        });
    }
    RKNPU2_RETURN_IF_ERROR(table.status());
    return engines;
}

}  // namespace rknpu2
