#include "matmul/statistics.hpp"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace rknpu2 {
namespace {

TEST(Statistics, JsonHasWhatWasCounted) {
    Statistics statistics;
    statistics.npu_matmuls += 3;
    statistics.runs += 9;
    statistics.add_refusal(Reason::kWeightType);
    statistics.add_refusal(Reason::kWeightType);
    statistics.add_placement({Place::kNpu, PlaceReason::kFasterOnNpu});
    statistics.add_placement({Place::kCpu, PlaceReason::kFasterOnCpu});
    statistics.add_placement({Place::kCpu, PlaceReason::kNoMemory});
    statistics.add_placement({Place::kNpu, PlaceReason::kReference});
    WeightRecord expert{"stack", "q4_0", 32, 64, "int8", 2048};
    for (const int number : {4, 0, 4}) {
        expert.expert = number;
        statistics.add_weight(expert);
    }
    statistics.add_weight({"a", "q4_0", 32, 64, "int8", 2048});
    statistics.add_weight({"a", "q4_0", 32, 64, "int8", 2048});
    statistics.add_weight({"b", "f16", 64, 32, "int8", 2048});
    RuntimeInfo runtime;
    runtime.simulated = true;
    const auto json = nlohmann::json::parse(statistics.to_json(Config(), runtime, "1.2.3"));
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
    EXPECT_EQ(json["experts"]["reasons"][place_reason_text(PlaceReason::kNoMemory)], 1);
    EXPECT_EQ(json["runtime"]["simulated"], true);
}

}  // namespace
}  // namespace rknpu2
