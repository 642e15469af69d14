// SPDX-License-Identifier: MIT
// What is written: JSON and CSV.
#include <nlohmann/json.hpp>

#include "base/format.hpp"
#include "bench/predict_cases.hpp"
#include "predict/csv.hpp"
#include "predict/prediction.hpp"

namespace rknpu2 {
namespace {

using nlohmann::json;

TEST(Output, JsonHoldsWhatTheTextSays) {
    const Prediction p = predict_for("Gemma-3-1B", Design::kPlugin);
    const json all = json::parse(predictions_json({p}));
    EXPECT_EQ(all["modelled"], true);
    const json& one = all["predictions"][0];
    EXPECT_EQ(one["model"], "Gemma-3-1B");
    EXPECT_DOUBLE_EQ(one["prefill"]["tokens_per_second"].get<double>(), p.prefill.tokens_per_second);
    double critical = 0;
    for (const auto& [phase, ms] : one["decode"]["critical_path_ms"].items())
        critical += ms.get<double>();
    EXPECT_NEAR(critical * 1e-3, p.decode.seconds, 1e-9);
    EXPECT_NE(predictions_text({p}).find(format("%.1f tokens/s modelled", p.prefill.tokens_per_second)),
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
