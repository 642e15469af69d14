// SPDX-License-Identifier: MIT
#include "predict/drafts.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "bench/predict_cases.hpp"
#include "predict/csv.hpp"

namespace rknpu2 {
namespace {

TEST(Drafts, KeptTokensAreAGeometricSum) {
    EXPECT_DOUBLE_EQ(kept_tokens(0.7, 0), 1);
    EXPECT_DOUBLE_EQ(kept_tokens(0, 9), 1);
    EXPECT_DOUBLE_EQ(kept_tokens(1, 9), 10);
    EXPECT_NEAR(kept_tokens(0.8, 6), (1 - std::pow(0.8, 7)) / (1 - 0.8), 1e-12);
}

TEST(Drafts, TheBestNumberOfGuessesIsTaken) {
    const Setting setting = setting_of("Llama-2-7B", Design::kPlugin, Planes::kBalanced);
    const std::vector<Drafting> all = draftings_of(setting, std::nullopt, 512, {0, 0.6, 0.7, 0.8, 1});
    ASSERT_EQ(all.size(), 5U);
    EXPECT_EQ(all[0].drafted, 0);
    EXPECT_DOUBLE_EQ(all[0].times_without, 1);
    for (size_t i = 1; i < all.size(); ++i) {
        EXPECT_GT(all[i].times_without, all[i - 1].times_without);
        EXPECT_GE(all[i].drafted, all[i - 1].drafted);
        EXPECT_LE(all[i].times_without, all[i].kept) << "a pass of more rows takes no less";
        // It is what the model says of such passes.
        const double alone = predict(setting, {.prompt = 1, .context = 512, .rows = 1}).decode.seconds;
        const double pass =
            predict(setting, {.prompt = 1, .context = 512, .rows = 1 + all[i].drafted}).decode.seconds;
        EXPECT_DOUBLE_EQ(all[i].times_without, all[i].kept * alone / pass);
    }
}

TEST(Drafts, AModelThatGuessesCostsItsOwnTime) {
    const Setting large = setting_of("Llama-2-7B", Design::kPlugin),
                  small = setting_of("SmolLM2-135M", Design::kPlugin);
    const Drafting looked_up = draftings_of(large, std::nullopt, 512, {0.7}).front();
    const Drafting guessed = draftings_of(large, small, 512, {0.7}).front();
    EXPECT_LT(guessed.tokens_per_second, looked_up.tokens_per_second);
    EXPECT_GT(guessed.times_without, 1.5);
    const Drafting itself = draftings_of(large, large, 512, {0.7}).front();
    EXPECT_EQ(itself.drafted, 0) << "it does not pay";
    CsvTable table(draftings_csv({guessed, looked_up}), "out.csv");
    ASSERT_EQ(table.rows(), 2U);
    EXPECT_EQ(table.text(0, "draft"), "SmolLM2-135M");
    EXPECT_EQ(table.text(1, "draft"), "looked up");
    EXPECT_NEAR(table.number(0, "times_without"), guessed.times_without, 0.006);
    EXPECT_TRUE(table.status().ok()) << table.status().message();
    EXPECT_NE(draftings_text({guessed}).find("Llama-2-7B"), std::string::npos);
    EXPECT_NE(draftings_json({guessed}).find("\"drafts\""), std::string::npos);
}

}  // namespace
}  // namespace rknpu2
