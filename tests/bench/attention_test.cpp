// SPDX-License-Identifier: MIT
// One attention on the NPU: what it sees, packs and runs.
#include "predict/attention.hpp"

#include "bench/predict_cases.hpp"

namespace rknpu2 {
namespace {

size_t count_of(const SeenParts& parts) {
    size_t sum = 0;
    for (const auto& part : parts)
        sum += part.count();
    return sum;
}

TEST(NpuAttentionModel, ACacheOfAWindowIsARing) {
    const Setting s = setting_of("Gemma-3-1B", Design::kPlugin);
    const Rows graph{2048, 512}, rows{2176, 64};
    EXPECT_EQ(positions_of(s, 5, graph), 2560U);
    EXPECT_EQ(positions_of(s, 0, graph), 1024U);
    EXPECT_EQ(positions_of(s, 0, {0, 512}), 512U);
    EXPECT_EQ(count_of(seen_parts(s, 5, rows, graph)), 2240U);
    const SeenParts seen = seen_parts(s, 0, rows, graph);
    EXPECT_EQ(count_of(seen), 512U + 63);
    EXPECT_TRUE(seen[0].test(0));  // 2048
    EXPECT_TRUE(seen[0].test(191));
    EXPECT_FALSE(seen[0].test(192));
    EXPECT_FALSE(seen[1].test(128));
    EXPECT_TRUE(seen[1].test(129));  // 2176 - 511
}

TEST(NpuAttentionModel, OldPositionsArePackedOnceAndNewOnesAsTheyCome) {
    const Setting s = setting_of("Llama-2-7B", Design::kPlugin);
    EngineSchedule engine = s.engine;
    engine.cell_mib = 64;
    engine.attentions = 1;
    KvBlocks blocks(s.model, engine);  // room for four
    const Rows graph{1024, 512};
    const auto pack = [&](int64_t layer, int64_t first, size_t place = 0) {
        return blocks.pack(layer, seen_parts(s, layer, {first, 64}, graph), place).groups.front();
    };
    const PackedBlocks::Group first = pack(0, 1024);
    EXPECT_EQ(first.blocks, (std::vector<size_t>{0, 1}));
    EXPECT_EQ(first.rows_read, 1024 + 64);
    EXPECT_EQ(first.rows_written, 2048);                          // the rest of its block are zeros
    EXPECT_EQ(first.tasks, 2 * 32 * 2048 / kPositionsOfPacking);  // keys and values of 32 heads
    const PackedBlocks::Group second = pack(0, 1088);
    EXPECT_EQ(second.rows_read, 64);
    EXPECT_EQ(second.buffers, 1U);
    pack(1, 1024);
    EXPECT_EQ(pack(0, 1088).rows_read, 0);
    pack(2, 1024);  // takes those of layer 1
    EXPECT_EQ(pack(0, 1152).rows_read, 64);
    EXPECT_EQ(pack(1, 1088).rows_read, 1024 + 128);
    // A place of its own has a copy of the block that grows, and reads the other's where nothing is to be added.
    engine.attentions = 2;
    KvBlocks two(s.model, engine);
    const auto rows_of = [&](int64_t from, size_t place) {
        return two.pack(0, seen_parts(s, 0, {from, 64}, graph), place).groups.front().rows_read;
    };
    EXPECT_EQ(rows_of(1024, 0), 1024 + 64);
    EXPECT_EQ(rows_of(1088, 1), 128);
    EXPECT_EQ(rows_of(1152, 0), 128);
    EXPECT_EQ(rows_of(1152, 1), 0);
}

TEST(NpuAttentionModel, RunsAndScores) {
    const Setting s = setting_of("Qwen2.5-1.5B", Design::kPlugin);  // two KV heads of six
    const Rows graph{1024, 512}, rows{1024, 128};
    KvBlocks blocks(s.model, s.engine);
    const Stage stage = npu_attention(s, 0, rows, graph, blocks.pack(0, seen_parts(s, 0, rows, graph), 0));
    double macs_ns = 0, scores = 0;
    size_t runs = 0;
    for (const Operation& operation : stage.operations) {
        for (const Part& part : operation.parts) {
            if (operation.on_npu()) macs_ns += part.count * part.compute_ns;
            if (operation.phase == std::string("attention weights")) scores += part.compute_ns;
        }
        runs += operation.on_npu() ? 1 : 0;
    }
    // 768 rows of each head are three pieces: with two blocks 12 units, each with scores and values.
    EXPECT_EQ(runs, 24U);
    const double all = 2 * 768 * (1024 + 256.0);
    // A task of 16 rows, of three or four tokens, weighs what its last token sees.
    double weighed = 2 * 768 * 1024.0;
    for (size_t row = 0; row < 768; row += 16)
        weighed += 2 * 16 * static_cast<double>((row + 15) / 6 + 1);
    EXPECT_NEAR(scores / s.board.block_pass_ns, weighed, 1e-3);
    // By values, the second block is multiplied whole.
    const double macs = 128 * (all + 2 * 768 * 2048.0);
    EXPECT_NEAR(macs_ns, macs / (512 * s.board.npu.mac_efficiency), 1);
    EXPECT_EQ(stage.operations.front().section, Operation::Section::kBegins);
    EXPECT_EQ(stage.operations.back().section, Operation::Section::kEnds);
}

}  // namespace
}  // namespace rknpu2
