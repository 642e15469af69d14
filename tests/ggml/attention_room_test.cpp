// SPDX-License-Identifier: MIT
// Attention for which the NPU has no room: the CPU computes it, told once, until there is room again.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "ggml/faulty_process.hpp"
#include "ggml/layer_graph.hpp"

namespace rknpu2::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

LayerOptions prompt() {
    LayerOptions options;
    options.tokens = 150;
    return options;
}

// The first 16 MiB are for weights. The rest is too little for a flow and for the scores of a prompt's rows, and enough for a
// multiplication and for the scores of a few tokens.
constexpr const char* kLittleMemory = "memory:bytes=18000000";

int refused_nodes(const nlohmann::json& statistics) {
    return statistics.at("attention").at("cpu").value("no room for it on the NPU", 0);
}

TEST(AttentionRoomTest, APassingWantOfRoomPasses) {
    RKNPU2_NEEDS_HOST();
    run_alone([] {
        FaultyProcess process(kLittleMemory);
        const LayerOptions options = prompt();
        LayerGraph graph(process.host(), options, 1);
        // The first graph finds out; of two, the CPU then computes the attention. The fourth tries again, and the CPU has four.
        const auto first = process.compute(graph);
        EXPECT_THAT(process.host().take_lines(),
                    ElementsAre(HasSubstr("prompts do not flow through layers"),
                                HasSubstr("the CPU computes this attention, which is slower")));
        for (const int refused : {1, 2, 2, 3, 4, 5, 6}) {
            EXPECT_TRUE(process.compute(graph) == first) << "the same bits";
            EXPECT_EQ(refused_nodes(process.statistics()), refused * options.layers);
        }
        EXPECT_THAT(process.host().take_lines(), IsEmpty());
        nlohmann::json seen = process.statistics();
        EXPECT_EQ(seen.at("attention").at("nodes"), 0);
        EXPECT_EQ(seen.at("attention").at("without_memory"), 2 * options.layers);

        // Somebody gives memory back.
        process.end_faults();
        for (int i = 0; i < 2; ++i)
            process.compute(graph);
        seen = process.statistics();
        EXPECT_EQ(seen.at("attention").at("nodes_of_flows"), 2 * options.layers);
        EXPECT_EQ(refused_nodes(seen), 6 * options.layers);
        EXPECT_THAT(process.host().take_lines(), IsEmpty());
    });
}

TEST(AttentionRoomTest, AFewTokensAreNotRefusedForAPrompt) {
    RKNPU2_NEEDS_HOST();
    run_alone([] {
        FaultyProcess process(kLittleMemory);
        LayerOptions options = prompt();
        LayerGraph graph(process.host(), options, 1);
        process.compute(graph);
        options.tokens = 8;
        LayerGraph draft(process.host(), options, 2);
        process.compute(draft);
        const nlohmann::json seen = process.statistics();
        EXPECT_EQ(seen.at("attention").at("without_memory"), options.layers);
        EXPECT_EQ(seen.at("attention").at("nodes"), options.layers);
    });
}

// Two long prompts in chunks of 112 or 128 rows, if so many bytes of the NPU's memory allow that. How often chunks were made
// shorter; -1: they do not flow.
int shortened_within(size_t bytes) {
    FaultyProcess process("memory:bytes=" + std::to_string(bytes));
    LayerOptions options;
    options.tokens = 450;
    options.ffn = 2048;  // results take more than attention
    LayerGraph graph(process.host(), options, 1);
    std::vector<std::vector<std::vector<uint8_t>>> results;
    {
        const BackendPtr backend = new_backend(process.host());
        for (int i = 0; i < 2; ++i)
            results.push_back(graph.compute(backend.get(), false));
    }
    const nlohmann::json seen = process.statistics();
    const int shortened = seen.at("flows_shortened");
    if (seen.at("flows") < 2) return -1;
    EXPECT_EQ(seen.at("flows"), 2);
    EXPECT_EQ(seen.at("flows_without_memory"), 0);
    const auto lines = process.host().take_lines();
    EXPECT_THAT(lines, SizeIs(shortened));
    if (shortened > 0) {
        EXPECT_THAT(lines, ElementsAre(HasSubstr("prompts flow through layers in short chunks")));
    }
    process.end_faults();
    results.push_back(process.compute(graph));
    EXPECT_TRUE(results[0] == results[1] && results[1] == results[2]) << "the same bits";
    return shortened;
}

TEST(AttentionRoomTest, LongChunksBecomeShortWhereTheyHaveNoRoom) {
    RKNPU2_NEEDS_HOST();
    int long_ones = 0, short_ones = 0, none = 0;
    for (size_t mib = 36; mib <= 80 && long_ones == 0; mib += 4) {
        const int shortened = run_in_child([&] { return shortened_within(mib << 20) + 1; }) - 1;
        ASSERT_GE(shortened, -1) << mib;
        ASSERT_LE(shortened, 1) << "once for a backend";
        (shortened < 0 ? none : shortened > 0 ? short_ones : long_ones) += 1;
    }
    EXPECT_GE(none, 1);
    EXPECT_GE(short_ones, 1);
    EXPECT_EQ(long_ones, 1);
}

// Three prompts, of which the runtime refuses to import the slice of this number, or the two after it, too. True: it was one
// of attention.
bool computes_with_refusal(int number, bool lasts) {
    SCOPED_TRACE(number);
    std::string faults;
    for (int i = 0; i < (lasts ? 3 : 1); ++i)
        faults += ",fail:rknn_create_mem_from_fd:nth=" + std::to_string(number + i);
    // By one core and thread: the order of imports is always the same.
    setenv("GGML_RKNPU2_CORES", "1", 1);
    setenv("GGML_RKNPU2_THREADS", "1", 1);
    FaultyProcess process(faults.substr(1));
    const LayerOptions options = prompt();
    LayerGraph graph(process.host(), options, 1);
    std::vector<std::vector<std::vector<uint8_t>>> results;
    for (int i = 0; i < 3; ++i)
        results.push_back(process.compute(graph));
    const nlohmann::json seen = process.statistics();
    const bool other = lasts && seen.at("attention").at("without_memory") == 0;  // some were a product's
    if (seen.at("flows") == 3 || other) return false;
    // The first graph's nodes were computed one by one, those of others in flows: the same bits.
    EXPECT_EQ(seen.at("flows"), 2);
    for (const auto& result : results)
        EXPECT_TRUE(result == results[0]);
    EXPECT_EQ(seen.at("attention").at("nodes"), lasts ? 0 : 3 * options.layers);
    EXPECT_EQ(seen.at("attention").at("without_memory"), lasts ? options.layers : 0);
    EXPECT_EQ(refused_nodes(seen), lasts ? 2 * options.layers : 0);
    EXPECT_THAT(process.host().take_lines(), SizeIs(lasts ? 2 : 1));
    return true;
}

// What computes the nodes one by one after a flow begins with new contexts. It finds room, or notes that there is none.
TEST(AttentionRoomTest, ASliceThatIsRefusedOnceIsNoRefusal) {
    RKNPU2_NEEDS_HOST();
    for (const bool lasts : {false, true}) {
        // Weights are imported first, and slices of attention last.
        int met = 0;
        for (int number = 60; number > 0 && met < 2; number -= 2) {
            const int result = run_in_child([&] { return computes_with_refusal(number, lasts) ? 1 : 0; });
            ASSERT_GE(result, 0);
            met += result;
        }
        EXPECT_EQ(met, 2);
    }
}

// A few tokens, whose attention is computed alone, while the runtime refuses to import the slice of this number, or the one after it,
// too. True: attention had no room then.
bool draft_has_no_room(int number, bool lasts) {
    SCOPED_TRACE(number);
    std::string faults = "fail:rknn_create_mem_from_fd:nth=" + std::to_string(number);
    if (lasts) faults += ",fail:rknn_create_mem_from_fd:nth=" + std::to_string(number + 1);
    setenv("GGML_RKNPU2_CORES", "1", 1);
    setenv("GGML_RKNPU2_THREADS", "1", 1);
    FaultyProcess process(faults);
    LayerOptions options;
    options.tokens = 8;
    LayerGraph draft(process.host(), options, 1);
    const auto first = process.compute(draft);
    const nlohmann::json attention = process.statistics().at("attention");
    if (lasts || attention.at("without_memory") != 0) return attention.at("without_memory") != 0;
    EXPECT_EQ(attention.at("nodes"), options.layers);
    EXPECT_THAT(process.host().take_lines(), IsEmpty());
    EXPECT_TRUE(process.compute(draft) == first) << "the same bits";
    return false;
}

// Attention that is computed alone is tried a second time, with new contexts, and only then left to the CPU.
TEST(AttentionRoomTest, ANodeAloneIsTriedTwice) {
    RKNPU2_NEEDS_HOST();
    int met = 0;
    for (int number = 20; number > 0; --number) {
        const auto has_no_room = [&](bool lasts) {
            return run_in_child([&] { return draft_has_no_room(number, lasts) ? 1 : 0; });
        };
        const int lasting = has_no_room(true);
        ASSERT_GE(lasting, 0) << number;
        if (lasting != 1) continue;
        ++met;
        EXPECT_EQ(has_no_room(false), 0) << number;
    }
    EXPECT_GE(met, 1);
}

}  // namespace
}  // namespace rknpu2::test
