// SPDX-License-Identifier: MIT
#include "predict/drafts.hpp"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "predict/csv.hpp"
#include "predict/modelled.hpp"

namespace rknpu2 {
namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kMostDrafted = 15;

double pass_seconds(const Setting& setting, int64_t context, int64_t rows) {
    return predict(setting, {.prompt = 1, .context = context, .rows = rows}).decode.seconds;
}

Json row_of(const Drafting& d) {
    const auto rounded = [](double value) { return std::round(value * 100) / 100; };
    return {{"model", d.setting.model.name},
            {"stored_bits", d.setting.stored_bits},
            {"precision", name_of(d.setting.planes)},
            {"matrices", kMatricesNames[static_cast<size_t>(d.setting.matrices)]},
            {"context", d.context},
            {"draft", d.draft ? d.draft->model.name : "looked up"},
            {"acceptance", d.acceptance},
            {"drafted", d.drafted},
            {"tokens_per_pass", rounded(d.kept)},
            {"tps", rounded(d.tokens_per_second)},
            {"times_without", rounded(d.times_without)}};
}

std::vector<Json> rows_of(const std::vector<Drafting>& draftings) {
    std::vector<Json> rows;
    std::transform(draftings.begin(), draftings.end(), std::back_inserter(rows), row_of);
    return rows;
}

}  // namespace

double kept_tokens(double acceptance, int64_t drafted) {
    double kept = 1, all_right = 1;
    for (int64_t i = 0; i < drafted; ++i)
        kept += all_right *= acceptance;
    return kept;
}

std::vector<Drafting> draftings_of(const Setting& setting, const std::optional<Setting>& draft,
                                   int64_t context, const std::vector<double>& acceptances) {
    const double guess_seconds = draft ? pass_seconds(*draft, context, 1) : 0;
    std::vector<double> seconds;  // by guesses
    for (int64_t drafted = 0; drafted <= kMostDrafted; ++drafted)
        seconds.push_back(pass_seconds(setting, context, 1 + drafted) +
                          static_cast<double>(drafted) * guess_seconds);
    std::vector<Drafting> draftings;
    for (const double acceptance : acceptances) {
        Drafting best{.setting = setting, .context = context, .draft = draft, .acceptance = acceptance};
        for (int64_t drafted = 0; drafted <= kMostDrafted; ++drafted) {
            const double kept = kept_tokens(acceptance, drafted);
            const double rate = kept / seconds[static_cast<size_t>(drafted)];
            if (rate <= best.tokens_per_second) continue;
            best.drafted = drafted;
            best.kept = kept;
            best.tokens_per_second = rate;
        }
        best.times_without = best.tokens_per_second * seconds.front();
        draftings.push_back(best);
    }
    return draftings;
}

std::string draftings_text(const std::vector<Drafting>& draftings) {
    TextTable table("lrllrlrrrrr");
    table.add({"model", "bits", "precision", "matrices", "context", "draft", "right", "guesses",
               "tokens a pass", "tokens/s", "times without"});
    return modelled_text(std::move(table), rows_of(draftings));
}

std::string draftings_csv(const std::vector<Drafting>& draftings) {
    return csv_text(
        "model,stored_bits,precision,matrices,context,draft,acceptance,drafted,tokens_per_pass,tps,times_"
        "without",
        rows_of(draftings));
}

std::string draftings_json(const std::vector<Drafting>& draftings) {
    return modelled_json("drafts", rows_of(draftings));
}

}  // namespace rknpu2
