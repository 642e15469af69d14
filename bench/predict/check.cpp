// SPDX-License-Identifier: MIT
#include "predict/check.hpp"

#include <algorithm>
#include <cstdio>

#include "base/format.hpp"
#include "predict/csv.hpp"
#include "text_table.hpp"
#include "timing/work.hpp"

namespace rknpu2 {
namespace {

using rknnsim::MatmulType;

std::string label(const PublishedMatmul& m) {
    return format("%ux%ux%u %s %s, %d core%s%s", m.M, m.K, m.N, m.type.c_str(),
                  m.native ? "native" : "normal", m.cores, m.cores == 1 ? "" : "s",
                  m.tile_rows > 0 ? (", " + m.how).c_str() : "");
}

// A token as the engine's own account of it says, with the NPU's times from the board.
double token_ms(const PublishedEngine& engine, const BoardProfile& board) {
    const double round_us = board.npu.submit_us + engine.wake_us;
    const double gbps =
        board.npu.stream_gbps[rknnsim::kCores - 1] * board.npu.ddr_mhz / rknnsim::kDdrReferenceMhz;
    return engine.rounds * round_us * 1e-3 + engine.calls * board.npu.sync_us * 1e-3 +
           engine.weight_gb / gbps * 1e3 + engine.cpu_ms;
}

}  // namespace

Result<std::vector<PublishedMatmul>> published_matmuls(const std::string& csv, const std::string& file) {
    CsvTable table(csv, file);
    const auto size = [&](size_t row, const char* column) {
        return static_cast<uint32_t>(table.integer(row, column, 0, UINT32_MAX));
    };
    std::vector<PublishedMatmul> matmuls;
    for (size_t row = 0; row < table.rows(); ++row) {
        if (table.text(row, "check") != "yes") continue;
        PublishedMatmul matmul{
            .M = size(row, "m"),
            .K = size(row, "k"),
            .N = size(row, "n"),
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
        const double operations = 2.0 * matmul.M * matmul.K * matmul.N * static_cast<double>(matmul.matmuls);
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

double modelled_us(const PublishedMatmul& matmul, const BoardProfile& board) {
    rknnsim::Profile profile = board.npu;
    rknnsim::MatmulShape shape;
    const MatmulType fp16 = matmul.half_results ? MatmulType::kF16F16F16 : MatmulType::kF16F16F32;
    shape.type = matmul.type == "fp16"   ? fp16
                 : matmul.type == "int4" ? MatmulType::kI4I4I16
                                         : MatmulType::kI8I8I32;
    if (matmul.tile_rows > 0) {
        profile.tile_rows[rknnsim::precision_of(shape.type)] = static_cast<double>(matmul.tile_rows);
    }
    shape.ac_native = matmul.native;
    shape.M = matmul.M;
    shape.K = matmul.K;
    constexpr int64_t kGroup = 64;  // columns, a multiple of what every type asks for
    const int64_t groups = (matmul.N + kGroup - 1) / kGroup;
    const int64_t parts = matmul.dealt ? matmul.cores : 1;
    shape.N = static_cast<uint32_t>((groups + parts - 1) / parts * kGroup);
    const rknnsim::Work work = rknnsim::work_of(shape, profile);
    const double run_ns = rknnsim::duration_of(shape, work, profile, matmul.cores).total;
    const double convert_ns = matmul.native ? 0 : rknnsim::convert_ns(profile, work.write_c, shape.M);
    return profile.submit_us + matmul.calls * profile.sync_us + (run_ns + convert_ns) * 1e-3;
}

Result<std::vector<CheckRow>> check_model(const BoardProfile& board) {
    const auto matmuls = published_matmuls(embedded_timings(), "npu-timings.csv");
    RKNPU2_RETURN_IF_ERROR(matmuls.status());
    const auto engines = published_engines(embedded_engines(), "engines.csv");
    RKNPU2_RETURN_IF_ERROR(engines.status());
    std::vector<CheckRow> rows;
    for (const PublishedMatmul& matmul : matmuls.value()) {
        const double us = modelled_us(matmul, board);
        rows.push_back({.what = label(matmul),
                        .unit = "GOPS",
                        .source = matmul.source,
                        .published = matmul.gops,
                        .modelled = matmul.gops * matmul.time_us / us,
                        .bar = kMatmulBar});
    }
    for (const PublishedEngine& engine : engines.value()) {
        if (engine.rounds == 0) continue;
        rows.push_back(
            {.what = format("%s, decode of %s, by its runs", engine.model.c_str(), engine.engine.c_str()),
             .unit = "tokens/s",
             .source = engine.source,
             .published = engine.decode_tps,
             .modelled = 1e3 / token_ms(engine, board),
             .bar = kEngineBar});
    }
    return rows;
}

std::string check_text(const std::vector<CheckRow>& rows) {
    TextTable table("lrrlrrll");
    table.add({"what", "published", "modelled", "", "off by", "bar", "", "source"});
    size_t missed = 0;
    for (const CheckRow& row : rows) {
        missed += row.ok() ? 0 : 1;
        table.add({row.what, format("%.4g", row.published), format("%.4g", row.modelled), row.unit,
                   format("%+.0f %%", row.error() * 100), format("%.0f %%", row.bar * 100),
                   row.ok() ? "" : "MISSED", row.source});
    }
    return table.to_string() + (missed == 0 ? format("all %zu within their bars\n", rows.size())
                                            : format("%zu of %zu outside their bars\n", missed, rows.size()));
}

}  // namespace rknpu2
