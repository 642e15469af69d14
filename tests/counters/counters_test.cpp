// SPDX-License-Identifier: MIT
#include "counters/counters.hpp"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace rknpu2 {
namespace {

TEST(Counters, JsonHasWhatWasCounted) {
    Counters counters;
    counters.npu_matmuls += 3;
    counters.runs += 9;
    counters.add_refusal(Reason::kWeightType);
    counters.add_refusal(Reason::kWeightType);
    counters.add_choice({Target::kNpu, TargetReason::kFasterOnNpu});
    counters.add_choice({Target::kCpu, TargetReason::kFasterOnCpu});
    counters.add_choice({Target::kCpu, TargetReason::kNoMemory});
    counters.add_choice({Target::kNpu, TargetReason::kReference});
    WeightRecord expert{"stack", "q4_0", 32, 64, "int8", 2048};
    for (const int number : {4, 0, 4}) {
        expert.expert = number;
        counters.add_weight(expert);
    }
    counters.add_weight({"a", "q4_0", 32, 64, "int8", 2048});
    counters.add_weight({"a", "q4_0", 32, 64, "int8", 2048});
    counters.add_weight({"b", "f16", 64, 32, "int8", 2048});
    RuntimeInfo runtime;
    runtime.simulated = true;
    const auto json = nlohmann::json::parse(counters.to_json(Config(), runtime, "1.2.3"));
    EXPECT_EQ(json["schema"], 1);
    EXPECT_EQ(json["version"], "1.2.3");
    EXPECT_EQ(json["weights"].size(), 3U);
    EXPECT_EQ(json["weights"][0]["experts"], 0);
    EXPECT_EQ(json["weights"][2]["experts"], 2);
    EXPECT_EQ(json["weights"][2]["packed_bytes"], 4096);
    EXPECT_EQ(json["weights"][0]["K"], 32);
    EXPECT_EQ(json["matmuls"]["npu"], 3);
    EXPECT_EQ(json["runs"], 9);
    EXPECT_EQ(json["refused"].size(), 1U);
    EXPECT_EQ(json["refused"][reason_text(Reason::kWeightType)], 2);
    EXPECT_EQ(json["experts"]["npu"], 1);
    EXPECT_EQ(json["experts"]["cpu"], 2);
    EXPECT_EQ(json["experts"]["reasons"].size(), 4U);
    EXPECT_EQ(json["experts"]["reasons"][target_reason_text(TargetReason::kNoMemory)], 1);
    EXPECT_EQ(json["runtime"]["simulated"], true);
}

// whisper.cpp names none.
TEST(Counters, WeightsThatOnlyGgmlHasNamedAreToldApart) {
    Counters counters;
    WeightRecord weight{"leaf_7", "f16", 32, 64, "fp16", 4096};
    for (const char& byte : {'a', 'b'}) {
        weight.data = &byte;
        counters.add_weight(weight);
        counters.add_weight(weight);
    }
    weight.name = "blk.0.attn_q.weight";
    for (const char& byte : {'c', 'd'}) {
        weight.data = &byte;
        counters.add_weight(weight);
    }
    const auto json = nlohmann::json::parse(counters.to_json(Config(), RuntimeInfo(), ""));
    EXPECT_EQ(json["weights"].size(), 3U);
}

}  // namespace
}  // namespace rknpu2
