// SPDX-License-Identifier: MIT
#include "predict/check.hpp"

#include "base/format.hpp"
#include "predict/csv.hpp"
#include "text_table.hpp"

namespace rknpu2 {
namespace {

// A token as the engine's own account of it says, with the NPU's times from the board.
double token_ms(const PublishedEngine& engine, const BoardProfile& board) {
    const double round_us = board.npu.submit_us + engine.wake_us;
    const double gbps =
        board.npu.stream_gbps[rknnsim::kCores - 1] * board.npu.ddr_mhz / rknnsim::kDdrReferenceMhz;
    return engine.rounds * round_us * 1e-3 + engine.calls * board.npu.sync_us * 1e-3 +
           engine.weight_gb / gbps * 1e3 + engine.cpu_ms;
}

}  // namespace

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

Result<std::vector<CheckRow>> check_model(const BoardProfile& board) {
    const auto engines = published_engines(embedded_engines(), "engines.csv");
    RKNPU2_RETURN_IF_ERROR(engines.status());
    std::vector<CheckRow> rows;
    for (const PublishedEngine& engine : engines.value()) {
        if (engine.rounds == 0) continue;
        rows.push_back({engine.model + ", " + engine.engine, engine.source, engine.decode_tps,
                        1e3 / token_ms(engine, board)});
    }
    return rows;
}

std::string check_text(const std::vector<CheckRow>& rows) {
    TextTable table("lrrrrll");
    table.add({"tokens/s of", "published", "modelled", "off by", "bar", "", "source"});
    size_t missed = 0;
    for (const CheckRow& row : rows) {
        missed += row.ok() ? 0 : 1;
        table.add({row.what, format("%.4g", row.published), format("%.4g", row.modelled),
                   format("%+.0f %%", row.error() * 100), format("%.0f %%", kEngineBar * 100),
                   row.ok() ? "" : "MISSED", row.source});
    }
    return table.to_string() + (missed == 0 ? format("all %zu within their bars\n", rows.size())
                                            : format("%zu of %zu outside their bars\n", missed, rows.size()));
}

}  // namespace rknpu2
