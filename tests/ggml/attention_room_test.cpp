// SPDX-License-Identifier: MIT
// Attention for which the NPU has no room: the CPU computes it, told once, and prompts go on flowing.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "ggml/layer_graph.hpp"

namespace rknpu2::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

nlohmann::json statistics(const std::filesystem::path& file) {
    std::ifstream stream(file);
    return nlohmann::json::parse(stream);
}

// The runtime refuses to import the slice of this number. True: it was one of attention.
bool computes_with_refusal(int number) {
    const std::filesystem::path file =
        std::filesystem::temp_directory_path() / ("rknpu2-room-" + std::to_string(getpid()) + ".json");
    setenv("GGML_RKNPU2_STATS", file.c_str(), 1);
    setenv("GGML_RKNPU2_ATTENTION", "npu", 1);
    setenv("RKNNSIM_FAULTS", ("fail:rknn_create_mem_from_fd:nth=" + std::to_string(number)).c_str(), 1);
    SCOPED_TRACE(number);
    const auto host = GgmlHost::open_with_device();
    LayerOptions options;
    options.tokens = 150;
    LayerGraph graph(*host, options, 1);
    host->take_lines();
    std::vector<std::vector<std::vector<uint8_t>>> results;
    std::vector<std::string> lines;
    for (int i = 0; i < 3; ++i) {
        const BackendPtr backend = new_backend(*host);
        results.push_back(graph.compute(backend.get(), false));
        if (i == 0) lines = host->take_lines();
    }
    const nlohmann::json all = statistics(file);
    std::filesystem::remove(file);
    EXPECT_THAT(host->take_lines(), IsEmpty());
    if (lines.empty()) {
        EXPECT_EQ(all.at("flows"), 3);
        return false;
    }
    // The first graph's nodes were computed one by one, those of others in flows: the same bits.
    EXPECT_THAT(lines, ElementsAre(HasSubstr("the CPU computes this attention, which is slower")));
    for (const auto& result : results)
        EXPECT_TRUE(result == results[0]);
    EXPECT_EQ(all.at("flows"), 2);
    const nlohmann::json& attention = all.at("attention");
    EXPECT_EQ(attention.at("nodes"), 0);
    EXPECT_EQ(attention.at("without_memory"), options.layers);
    EXPECT_EQ(attention.at("cpu").at("no room for it on the NPU"), 2 * options.layers);
    return true;
}

TEST(AttentionRoomTest, ARefusalIsFoundOnce) {
    RKNPU2_NEEDS_HOST();
    // Weights are imported first, and slices of attention last.
    int refused = 0;
    for (int number = 60; number > 0 && refused < 3; number -= 2)
        refused += run_in_child([&] { return computes_with_refusal(number) ? 1 : 0; });
    EXPECT_EQ(refused, 3);
}

}  // namespace
}  // namespace rknpu2::test
