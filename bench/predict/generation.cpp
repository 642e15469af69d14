// SPDX-License-Identifier: MIT
#include "predict/generation.hpp"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "predict/csv.hpp"
#include "predict/modelled.hpp"

namespace rknpu2 {
namespace {

using Json = nlohmann::ordered_json;

double pass_ms(Setting& setting, const Goal& goal, MatricesOn matrices) {
    setting.matrices = matrices;
    return predict(setting, {.prompt = 1, .context = goal.context, .rows = goal.rows}).decode.seconds * 1e3;
}

Json row_of(const Generation& g) {
    const Setting& s = g.setting;
    const auto rows = static_cast<double>(g.goal.rows);
    const auto rate = [&](double ms) { return std::round(rows * 1e5 / ms) / 100; };
    const auto rounded = [](double value) { return std::round(value * 1e3) / 1e3; };
    return {{"model", s.model.name},
            {"stored_bits", s.stored_bits},
            {"precision", name_of(s.planes)},
            {"context", g.goal.context},
            {"rows", g.goal.rows},
            {"npu_tps", rate(g.npu_ms)},
            {"cpu_tps", rate(g.cpu_ms)},
            {"auto_tps", rate(g.auto_ms)},
            {"auto_of_best", rounded(g.share_of_best())},
            {"times_one_row", rounded(g.auto_ms / g.one_row_ms)}};
}

std::vector<Json> rows_of(const std::vector<Generation>& generations) {
    std::vector<Json> rows;
    std::transform(generations.begin(), generations.end(), std::back_inserter(rows), row_of);
    return rows;
}

}  // namespace

Generation generation_of(Setting setting, const Goal& goal) {
    Generation g{.setting = setting, .goal = goal};
    g.npu_ms = pass_ms(setting, goal, MatricesOn::kNpu);
    g.cpu_ms = pass_ms(setting, goal, MatricesOn::kCpu);
    g.auto_ms = pass_ms(setting, goal, MatricesOn::kAuto);
    g.one_row_ms = goal.rows == 1 ? g.auto_ms
                                  : pass_ms(setting, {.context = goal.context, .rows = 1}, MatricesOn::kAuto);
    return g;
}

std::string generations_text(const std::vector<Generation>& generations) {
    TextTable table("lrlrrrrrrr");
    table.add({"model", "bits", "precision", "context", "rows", "NPU, tokens/s", "CPU", "auto", "of the best",
               "times one row"});
    return modelled_text(std::move(table), rows_of(generations));
}

std::string generations_csv(const std::vector<Generation>& generations) {
    return csv_text(
        "model,stored_bits,precision,context,rows,npu_tps,cpu_tps,auto_tps,auto_of_best,times_one_row",
        rows_of(generations));
}

std::string generations_json(const std::vector<Generation>& generations) {
    return modelled_json("generation", rows_of(generations));
}

}  // namespace rknpu2
