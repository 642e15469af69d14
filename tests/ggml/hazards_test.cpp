// SPDX-License-Identifier: MIT
// Graphs whose nodes get into each other's way: what is computed together, ahead or in chunks gives the bits
// of the nodes one by one.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <numeric>
#include <vector>

#include "ggml/hazards_fixture.hpp"
#include "ggml/layer_graph.hpp"

namespace rknpu2::test {
namespace {

TEST_F(HazardsTest, AResultThatNobodyReadsIsWritten) {
    const HostFunctions& ggml = host_->ggml;
    ggml_context* const c = nodes_.get();
    ggml_tensor* const h = ggml.ggml_mul_mat(c, weight(kK, kK), input(kK, kRows));
    read_.push_back(ggml.ggml_scale(c, h, 2.0F));
    expand(read_.back());
    end(ggml.ggml_mul_mat(c, weight(kK, kK), ggml.ggml_scale(c, h, 0.5F)));
    check();
}

// The CPU backend may fuse the norm with its factor, and not write it, only when nobody else reads it: here a view's reader does.
TEST_F(HazardsTest, ANormIsReadThroughAView) {
    const HostFunctions& ggml = host_->ggml;
    ggml_context* const c = nodes_.get();
    ggml_tensor* const norm =
        ggml.ggml_rms_norm(c, ggml.ggml_mul_mat(c, weight(kK, kK), input(kK, kRows)), 1e-5F);
    ggml_tensor* const product = ggml.ggml_mul(c, norm, input(kK, 1));
    ggml_tensor* const heads = ggml.ggml_scale(c, ggml.ggml_reshape_3d(c, norm, kK / 4, 4, kRows), 0.5F);
    ggml_tensor* const sum = ggml.ggml_add(c, product, ggml.ggml_reshape_2d(c, heads, kK, kRows));
    end(ggml.ggml_mul_mat(c, weight(kK, kK), sum));
    check();
}

TEST_F(HazardsTest, AStateIsReadRowByRowAndThenWrittenInAnotherOrder) {
    const HostFunctions& ggml = host_->ggml;
    ggml_context* const c = nodes_.get();
    ggml_tensor* const kept = state(kK, kRows);
    ggml_tensor* const a = ggml.ggml_add(c, ggml.ggml_mul_mat(c, weight(kK, kK), input(kK, kRows)), kept);
    ggml_tensor* const h = ggml.ggml_mul_mat(c, weight(kK, kK), a);
    expand(ggml.ggml_set_rows(c, kept, h, backwards(kRows)));
    end(ggml.ggml_scale(c, h, 0.5F));
    check();
}

TEST_F(HazardsTest, AMatrixIsWrittenAndThenMultipliedBy) {
    for (const int64_t rows : {int64_t{3}, kRows}) {
        SCOPED_TRACE(rows);
        begin();
        const HostFunctions& ggml = host_->ggml;
        ggml_context* const c = nodes_.get();
        ggml_tensor* const stored = state(kK, rows);
        ggml_tensor* const x = input(kK, rows);
        ggml_tensor* const h = ggml.ggml_mul_mat(c, weight(kK, kK), x);
        expand(ggml.ggml_mul_mat(c, stored, x));  // packed before it is written
        expand(ggml.ggml_set_rows(c, stored, h, backwards(rows)));
        ggml_tensor* const s = ggml.ggml_scale(c, h, 0.5F);
        end(ggml.ggml_mul_mat(c, stored, s));
        end(ggml.ggml_mul_mat(c, weight(kK, kK), s));
        check();
    }
}

// A host's function may write its operands through pointers of its own.
TEST_F(HazardsTest, AFunctionOfTheHostsWritesAWeight) {
    const auto negate_weight = [](ggml_tensor* out, int ith, int /*nth*/, void* /*data*/) {
        if (ith != 0) return;
        auto* const values = static_cast<float*>(out->src[0]->data);
        std::transform(values, values + kK * kK, values, std::negate<>());
        std::memcpy(out->data, out->src[1]->data, sizeof(float) * kK * static_cast<size_t>(out->ne[1]));
    };
    for (const int64_t rows : {int64_t{3}, kRows}) {
        SCOPED_TRACE(rows);
        begin();
        const HostFunctions& ggml = host_->ggml;
        ggml_context* const c = nodes_.get();
        ggml_tensor* const stored = state(kK, kK);
        ggml_tensor* const x = input(kK, rows);
        end(ggml.ggml_mul_mat(c, stored, x));  // packed before it is written
        ggml_tensor* sources[] = {stored, x};
        end(ggml.ggml_mul_mat(
            c, stored,
            ggml.ggml_custom_4d(c, GGML_TYPE_F32, kK, rows, 1, 1, sources, 2, negate_weight, 1, nullptr)));
        end(ggml.ggml_mul_mat(c, weight(kK, kK), x));
        check();
        const Bytes all = results();
        const auto* const before = reinterpret_cast<const float*>(all[1].data());
        const auto* const after = reinterpret_cast<const float*>(all[2].data());
        for (int64_t i = 0; i < kK * rows; ++i)
            ASSERT_EQ(after[i], -before[i]) << i;
    }
}

// Names must not decide how weights that are placed together are cut.
TEST_F(HazardsTest, WeightsByTheSameActivationsWhateverTheirNamesAndWidths) {
    struct Pair {
        int64_t K;
        const char* first;
        int64_t first_columns;
        const char* second;
        int64_t second_columns;
    };
    const Pair pairs[] = {
        {11008, "blk.0.ffn_down.weight", 512, "blk.0.ffn_down.weight.lora_a", 16},
        {11008, "blk.0.ffn_down.weight.lora_a", 16, "blk.0.ffn_down.weight", 512},
        {2048, "blk.0.hc_ffn_down.weight", 8, "blk.0.hc_ffn_inject.weight", 4},
        {28672, "blk.0.hc_ffn_down.weight", 8, "blk.0.hc_ffn_inject.weight", 4},
        {3072, "blk.0.attn_gate2.weight", 64, "blk.0.attn_output.weight", 1024},
    };
    for (const Pair& pair : pairs) {
        SCOPED_TRACE(pair.first);
        begin();
        const HostFunctions& ggml = host_->ggml;
        ggml_tensor* const x = input(pair.K, 2);
        for (ggml_tensor* const by : {weight(pair.K, pair.first_columns, pair.first),
                                      weight(pair.K, pair.second_columns, pair.second)}) {
            ggml_tensor* const y = ggml.ggml_mul_mat(nodes_.get(), by, x);
            ggml.ggml_set_output(y);
            read_.push_back(y);
            expand(y);
        }
        check();
    }
}

// Attention of the first chunk computes with cells that the last one writes.
TEST_F(HazardsTest, InfinitiesInCellsThatLaterChunksOverwrite) {
    LayerOptions options;
    options.tokens = 300;
    options.infinite_cells = true;
    LayerGraph graph(*host_, options, 11);
    const Bytes apart = graph.compute(backend_.get(), true);
    std::vector<float> values(apart.front().size() / sizeof(float));
    std::memcpy(values.data(), apart.front().data(), apart.front().size());
    EXPECT_TRUE(std::all_of(values.begin(), values.end(), [](float value) { return std::isfinite(value); }));
    EXPECT_EQ(graph.compute(backend_.get(), false), apart);
}

// Rows of a chunk live in memory of the host's; without it the nodes are computed one by one.
TEST_F(HazardsTest, AFlowWithoutHostMemory) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    GTEST_SKIP() << "a sanitizer's allocator does not live with a limit of the address space";
#endif
    constexpr int64_t kWide = 8192;
    const HostFunctions& ggml = host_->ggml;
    ggml_context* const c = nodes_.get();
    ggml_tensor* const x = input(kK, kRows);
    std::vector<ggml_tensor*> wide;  // all of them live in chunks until the end: 48 MiB
    for (int i = 0; i < 6; ++i) {
        wide.push_back(
            ggml.ggml_mul_mat(c, weight(kK, kWide), ggml.ggml_scale(c, x, 1.0F + static_cast<float>(i))));
        expand(wide.back());
    }
    ggml_tensor* sum = ggml.ggml_mul_mat(c, weight(kWide, kK), wide[0]);
    for (ggml_tensor* const product : wide)
        sum = ggml.ggml_add(c, sum, ggml.ggml_mul_mat(c, weight(kWide, kK), product));
    end(sum);
    allocate();
    const Bytes expected = node_by_node();
    rlimit before{};
    ASSERT_EQ(getrlimit(RLIMIT_AS, &before), 0);
    rlimit tight = before;
    tight.rlim_cur = process_bytes("VmSize") + (size_t{8} << 20);
    host_->take_lines();
    ASSERT_EQ(setrlimit(RLIMIT_AS, &tight), 0);
    // What earlier tests have given back to malloc is memory, too.
    std::vector<std::unique_ptr<void, decltype(&std::free)>> rest;
    rest.reserve(4096);
    while (void* const block = std::malloc(size_t{1} << 20))
        rest.emplace_back(block, std::free);
    for (int i = 0; i < 8 && !rest.empty(); ++i)
        rest.pop_back();
    const Bytes without = whole();
    rest.clear();
    ASSERT_EQ(setrlimit(RLIMIT_AS, &before), 0);
    EXPECT_TRUE(without == expected);
    EXPECT_THAT(host_->take_lines(),
                ::testing::Contains(::testing::HasSubstr("prompts do not flow through layers")).Times(1));
    EXPECT_TRUE(whole() == expected);
    EXPECT_THAT(host_->take_lines(), ::testing::IsEmpty());
}

// Computes a layer's graph again and again, and stops it at each question that the host is asked, whichever part of the plug-in or
// of the host's CPU backend asks it. How many there are.
int stops_of(GgmlHost& host, ggml_backend_t backend, int64_t tokens) {
    const auto set = reinterpret_cast<ggml_backend_set_abort_callback_t>(
        host.ggml.ggml_backend_reg_get_proc_address(host.plugin, "ggml_backend_set_abort_callback"));
    struct Asked {
        int questions;
        int stop_at;
    } asked{};
    const auto count = [](void* data) {
        Asked& at = *static_cast<Asked*>(data);
        return ++at.questions == at.stop_at;
    };
    LayerOptions options;
    options.tokens = tokens;
    LayerGraph graph(host, options, 5);
    const auto expected = graph.compute(backend, false);
    host.take_lines();
    set(backend, count, &asked);
    int stopped = 0;
    for (ggml_status status = GGML_STATUS_ABORTED; status == GGML_STATUS_ABORTED; ++stopped) {
        asked = {0, stopped + 1};
        graph.fill();
        status = host.ggml.ggml_backend_graph_compute(backend, graph.graph());
        // Once it has said yes it is not asked again; the last round asks less often than that.
        const bool ends = asked.questions < asked.stop_at;
        EXPECT_EQ(status, ends ? GGML_STATUS_SUCCESS : GGML_STATUS_ABORTED) << "question " << stopped + 1;
    }
    EXPECT_THAT(host.take_lines(), ::testing::IsEmpty()) << "a stop is not worth a line";
    set(backend, nullptr, nullptr);
    EXPECT_EQ(graph.compute(backend, false), expected);
    return stopped;
}

TEST_F(HazardsTest, AStopIsNeverAFailure) {
    EXPECT_GT(stops_of(*host_, backend_.get(), 300), 30);
}

// Two layers' operations one by one ask some forty times; attention alone, which may last, asks between its steps.
TEST(Hazards, AStopIsHeardWithinAttention) {
    RKNPU2_NEEDS_HOST();
    run_alone([] {
        setenv("GGML_RKNPU2_ATTENTION", "npu", 1);
        const auto host = GgmlHost::open_with_device();
        const BackendPtr backend = new_backend(*host);
        EXPECT_GE(stops_of(*host, backend.get(), 120), 50);
    });
}

}  // namespace
}  // namespace rknpu2::test
