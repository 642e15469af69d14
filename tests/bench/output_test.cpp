// SPDX-License-Identifier: MIT
// What is written: JSON and CSV.
#include <nlohmann/json.hpp>

#include "bench/predict_cases.hpp"
#include "predict/check.hpp"
#include "predict/csv.hpp"
#include "predict/prediction.hpp"

namespace rknpu2 {
namespace {

using nlohmann::json;

std::vector<PublishedEngine> engines() {
    return published_engines(embedded_engines(), "engines.csv").value();
}

TEST(Output, JsonHoldsWhatTheTextSays) {
    const Prediction p = predict_for("Gemma-3-1B", Design::kPlugin);
    const json all = json::parse(predictions_json({p}, engines()));
    EXPECT_EQ(all["modelled"], true);
    const json& one = all["predictions"][0];
    EXPECT_EQ(one["model"], "Gemma-3-1B");
    EXPECT_DOUBLE_EQ(one["prefill"]["tokens_per_second"].get<double>(), p.prefill.tokens_per_second);
    EXPECT_EQ(one["published"][0]["prefill"], 378.6);
    double critical = 0;
    for (const auto& [phase, ms] : one["decode"]["critical_path_ms"].items())
        critical += ms.get<double>();
    EXPECT_NEAR(critical * 1e-3, p.decode.seconds, 1e-9);
    EXPECT_NE(predictions_text({p}, engines()).find("rk-llama.cpp Q8_0: pp512 378.6 tg 16.50"),
              std::string::npos);
}

TEST(Output, CsvHasACellForEveryColumn) {
    CsvTable table(predictions_csv({predict_for("Gemma-3-1B", Design::kPlain)}), "out.csv");
    ASSERT_EQ(table.rows(), 1);
    EXPECT_EQ(table.text(0, "design"), "plain");
    EXPECT_GT(table.number(0, "pp_tps"), 100);
    EXPECT_TRUE(table.status().ok()) << table.status().message();
}

}  // namespace
}  // namespace rknpu2
