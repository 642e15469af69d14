// Graphs whose nodes get into each other's way: what is computed together, ahead or in chunks gives the bits
// of the nodes one by one.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <numeric>

#include "ggml/layer_graph.hpp"

namespace rknpu2::test {
namespace {

using Bytes = std::vector<std::vector<uint8_t>>;

class HazardsTest : public ::testing::Test {
  protected:
    static constexpr int64_t kK = 64;
    static constexpr int64_t kRows = 256;

    void SetUp() override {
        RKNPU2_NEEDS_HOST();
        host_ = GgmlHost::open_with_device();
        ASSERT_TRUE(host_);
        backend_ = new_backend(*host_);
        begin();
    }

    // Another graph; nothing of the last one stays.
    void begin() {
        filled_.clear();
        stored_.clear();
        read_.clear();
        places_ = nullptr;
        allocator_.reset();
        buffers_.clear();
        for (ContextPtr* const context : {&weights_, &states_, &nodes_})
            *context = new_context(128);
        graph_ = host_->ggml.ggml_new_graph(nodes_.get());
    }

    ContextPtr new_context(size_t tensors) {
        const HostFunctions& ggml = host_->ggml;
        return {ggml.ggml_init(
                    {tensors * ggml.ggml_tensor_overhead() + ggml.ggml_graph_overhead(), nullptr, true}),
                ggml.ggml_free};
    }
    ggml_tensor* weight(int64_t K, int64_t N, const char* name = "") {
        ggml_tensor* const made = host_->ggml.ggml_new_tensor_2d(weights_.get(), GGML_TYPE_F32, K, N);
        host_->ggml.ggml_set_name(made, name);
        stored_.push_back(made);
        return made;
    }
    ggml_tensor* state(int64_t K, int64_t rows) {
        read_.push_back(host_->ggml.ggml_new_tensor_2d(states_.get(), GGML_TYPE_F32, K, rows));
        filled_.push_back(read_.back());
        return read_.back();
    }
    ggml_tensor* input(int64_t K, int64_t rows) {
        filled_.push_back(host_->ggml.ggml_new_tensor_2d(nodes_.get(), GGML_TYPE_F32, K, rows));
        host_->ggml.ggml_set_input(filled_.back());
        return filled_.back();
    }
    // Places rows - 1 .. 0.
    ggml_tensor* backwards(int64_t rows) {
        places_ = host_->ggml.ggml_new_tensor_1d(nodes_.get(), GGML_TYPE_I64, rows);
        host_->ggml.ggml_set_input(places_);
        return places_;
    }
    void expand(ggml_tensor* node) { host_->ggml.ggml_build_forward_expand(graph_, node); }
    // The graph's last node, which does not flow.
    void end(ggml_tensor* x) {
        ggml_tensor* const last = host_->ggml.ggml_cont(nodes_.get(), x);
        host_->ggml.ggml_set_output(last);
        read_.push_back(last);
        expand(last);
    }

    void allocate() {
        const HostFunctions& ggml = host_->ggml;
        const auto type = ggml.ggml_backend_dev_buffer_type(host_->device);
        const auto in = [&](const ContextPtr& context) {
            return BufferPtr(ggml.ggml_backend_alloc_ctx_tensors_from_buft(context.get(), type),
                             ggml.ggml_backend_buffer_free);
        };
        buffers_.push_back(in(weights_));
        ggml.ggml_backend_buffer_set_usage(buffers_.back().get(), GGML_BACKEND_BUFFER_USAGE_WEIGHTS);
        if (std::any_of(read_.begin(), read_.end(),
                        [](const ggml_tensor* t) { return t->op == GGML_OP_NONE; }))
            buffers_.push_back(in(states_));
        allocator_ = {ggml.ggml_gallocr_new(type), ggml.ggml_gallocr_free};
        ASSERT_TRUE(ggml.ggml_gallocr_alloc_graph(allocator_.get(), graph_));
        fill_tensors(stored_);
    }

    void fill_tensors(const std::vector<ggml_tensor*>& tensors) {
        const HostFunctions& ggml = host_->ggml;
        Random random(7);
        for (ggml_tensor* const tensor : tensors) {
            std::vector<float> values =
                random_floats(random, static_cast<size_t>(ggml.ggml_nelements(tensor)));
            for (float& value : values)
                value *= 0.3F;
            ggml.ggml_backend_tensor_set(tensor, values.data(), 0, values.size() * sizeof(float));
        }
    }

    // Everything that the graph reads; weights are written by allocate().
    void fill() {
        const HostFunctions& ggml = host_->ggml;
        fill_tensors(filled_);
        for (ggml_tensor* const tensor : read_) {
            if (tensor->op != GGML_OP_NONE)
                ggml.ggml_backend_tensor_memset(tensor, 0x44, 0, ggml.ggml_nbytes(tensor));
        }
        if (places_ == nullptr) return;
        std::vector<int64_t> places(static_cast<size_t>(places_->ne[0]));
        std::iota(places.rbegin(), places.rend(), 0);
        ggml.ggml_backend_tensor_set(places_, places.data(), 0, places.size() * sizeof(int64_t));
    }

    Bytes results() {
        Bytes all;
        for (ggml_tensor* const tensor : read_) {
            all.emplace_back(host_->ggml.ggml_nbytes(tensor));
            host_->ggml.ggml_backend_tensor_get(tensor, all.back().data(), 0, all.back().size());
        }
        return all;
    }

    Bytes node_by_node() {
        const HostFunctions& ggml = host_->ggml;
        fill();
        for (int i = 0; i < ggml.ggml_graph_n_nodes(graph_); ++i) {
            const ContextPtr context = new_context(4);
            ggml_cgraph* const one = ggml.ggml_new_graph(context.get());
            ggml.ggml_graph_add_node(one, ggml.ggml_graph_node(graph_, i));
            EXPECT_EQ(ggml.ggml_backend_graph_compute(backend_.get(), one), GGML_STATUS_SUCCESS);
        }
        return results();
    }

    Bytes whole() {
        fill();
        EXPECT_EQ(host_->ggml.ggml_backend_graph_compute(backend_.get(), graph_), GGML_STATUS_SUCCESS);
        return results();
    }

    // Node by node, then the whole graph, some times.
    void check() {
        allocate();
        const Bytes expected = node_by_node();
        for (int round = 0; round < 3; ++round)
            EXPECT_TRUE(whole() == expected) << "round " << round;
    }

    std::unique_ptr<GgmlHost> host_;
    BackendPtr backend_{nullptr, nullptr};
    ContextPtr weights_{nullptr, [](ggml_context*) {}};
    ContextPtr states_{nullptr, [](ggml_context*) {}};
    ContextPtr nodes_{nullptr, [](ggml_context*) {}};
    std::vector<BufferPtr> buffers_;
    HostPtr<ggml_gallocr> allocator_{nullptr, nullptr};
    std::vector<ggml_tensor*> stored_, filled_, read_;
    ggml_tensor* places_ = nullptr;
    ggml_cgraph* graph_ = nullptr;
};

TEST_F(HazardsTest, AResultThatNobodyReadsIsWritten) {
    const HostFunctions& ggml = host_->ggml;
    ggml_context* const c = nodes_.get();
    ggml_tensor* const h = ggml.ggml_mul_mat(c, weight(kK, kK), input(kK, kRows));
    read_.push_back(ggml.ggml_scale(c, h, 2.0F));
    expand(read_.back());
    end(ggml.ggml_mul_mat(c, weight(kK, kK), ggml.ggml_scale(c, h, 0.5F)));
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
    const Bytes without = whole();
    ASSERT_EQ(setrlimit(RLIMIT_AS, &before), 0);
    EXPECT_TRUE(without == expected);
    EXPECT_THAT(host_->take_lines(),
                ::testing::Contains(::testing::HasSubstr("prompts do not flow through layers")).Times(1));
    EXPECT_TRUE(whole() == expected);
    EXPECT_THAT(host_->take_lines(), ::testing::IsEmpty());
}

// More shapes than the device keeps contexts for: told once, and computed one by one.
TEST_F(HazardsTest, AFlowOfTooManyShapes) {
    constexpr int64_t kNarrow = 96;
    const HostFunctions& ggml = host_->ggml;
    ggml_tensor* x = input(kNarrow, kRows);
    for (int64_t i = 1; i <= 25; ++i) {  // two shapes on three cores each
        x = ggml.ggml_mul_mat(nodes_.get(), weight(kNarrow, kNarrow * i), x);
        x = ggml.ggml_mul_mat(nodes_.get(), weight(kNarrow * i, kNarrow), x);
    }
    end(x);
    host_->take_lines();
    check();
    EXPECT_THAT(host_->take_lines(),
                ::testing::ElementsAre(::testing::HasSubstr("too many shapes for one flow")));
}

// At every question that the host is asked, whichever part of the plug-in or of the host's CPU backend asks
// it.
TEST_F(HazardsTest, AStopIsNeverAFailure) {
    LayerOptions options;
    options.tokens = 300;
    LayerGraph graph(*host_, options, 5);
    const Bytes expected = graph.compute(backend_.get(), false);
    const auto set = reinterpret_cast<ggml_backend_set_abort_callback_t>(
        host_->ggml.ggml_backend_reg_get_proc_address(host_->plugin, "ggml_backend_set_abort_callback"));
    host_->take_lines();
    struct Asked {
        int questions;
        int stop_at;
    } asked{};
    set(
        backend_.get(),
        [](void* data) {
            Asked& at = *static_cast<Asked*>(data);
            return ++at.questions == at.stop_at;
        },
        &asked);
    int stopped = 0;
    for (ggml_status status = GGML_STATUS_ABORTED; status == GGML_STATUS_ABORTED; ++stopped) {
        asked = {0, stopped + 1};
        graph.fill();
        status = host_->ggml.ggml_backend_graph_compute(backend_.get(), graph.graph());
        // Once it has said yes it is not asked again; the last round asks less often than that.
        ASSERT_EQ(status, asked.questions < asked.stop_at ? GGML_STATUS_SUCCESS : GGML_STATUS_ABORTED)
            << "question " << stopped + 1;
    }
    EXPECT_GT(stopped, 30);
    EXPECT_THAT(host_->take_lines(), ::testing::IsEmpty()) << "a stop is not worth a line";
    set(backend_.get(), nullptr, nullptr);
    EXPECT_EQ(graph.compute(backend_.get(), false), expected);
}

}  // namespace
}  // namespace rknpu2::test
