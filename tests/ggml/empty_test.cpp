// Products of no rows, no columns and no tokens, as llama.cpp builds them for a batch without outputs: they
// succeed, nothing runs and no weight is packed or copied.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ggml/hazards_fixture.hpp"

namespace rknpu2::test {
namespace {

using ::testing::IsEmpty;

class EmptyTest : public HazardsTest {
  protected:
    ggml_tensor* tensor(ContextPtr& context, ggml_type type, int64_t a, int64_t b, int64_t c = 1) {
        return host_->ggml.ggml_new_tensor_3d(context.get(), type, a, b, c);
    }
    ggml_tensor* stack(int64_t K, int64_t N, int64_t experts) {
        stored_.push_back(tensor(weights_, GGML_TYPE_F32, K, N, experts));
        return stored_.back();
    }
    // A graph's input without elements: nothing to fill.
    ggml_tensor* nothing(ggml_type type, int64_t a, int64_t b, int64_t c = 1) {
        ggml_tensor* const made = tensor(nodes_, type, a, b, c);
        host_->ggml.ggml_set_input(made);
        return made;
    }
    bool supported(const ggml_tensor* node) {
        return host_->ggml.ggml_backend_dev_supports_op(host_->device, node);
    }
    // The graph succeeds, and the NPU has neither run nor got memory.
    void expect_nothing() {
        end(input(kK, 2));  // ggml places no graph of nothing
        allocate();
        fill();
        const rknnsim_live_counts before = simulator_counts();
        host_->take_lines();
        for (int round = 0; round < 2; ++round)
            EXPECT_EQ(host_->ggml.ggml_backend_graph_compute(backend_.get(), graph_), GGML_STATUS_SUCCESS);
        const rknnsim_live_counts after = simulator_counts();
        EXPECT_EQ(after.runs, before.runs);
        EXPECT_EQ(after.memories, before.memories);
        EXPECT_THAT(host_->take_lines(), IsEmpty());
    }
};

TEST_F(EmptyTest, NoRows) {
    ggml_tensor* const node =
        host_->ggml.ggml_mul_mat(nodes_.get(), weight(kK, 96), nothing(GGML_TYPE_F32, kK, 0));
    expand(node);
    expect_nothing();
    EXPECT_TRUE(supported(node));
}

TEST_F(EmptyTest, NoRowsOfSeveralWeightsAndTheirGate) {
    const HostFunctions& ggml = host_->ggml;
    ggml_tensor* const a = nothing(GGML_TYPE_F32, kK, 0);
    std::vector<ggml_tensor*> nodes;
    for (int i = 0; i < 2; ++i)
        nodes.push_back(ggml.ggml_mul_mat(nodes_.get(), weight(kK, 96), a));
    nodes.push_back(ggml.ggml_swiglu_split(nodes_.get(), nodes[0], nodes[1]));
    nodes.push_back(ggml.ggml_mul_mat(nodes_.get(), weight(96, kK), nodes.back()));
    for (ggml_tensor* const node : nodes)
        expand(node);
    expect_nothing();
    for (ggml_tensor* const node : nodes)
        EXPECT_TRUE(supported(node));
}

// A whole layer that ends in no output rows, as llama.cpp's last layer does.
TEST_F(EmptyTest, RowsThatEndInNone) {
    const HostFunctions& ggml = host_->ggml;
    for (const int64_t rows : {int64_t{1}, int64_t{5}, kRows}) {
        begin();
        ggml_tensor* x = ggml.ggml_mul_mat(nodes_.get(), weight(kK, kK), input(kK, rows));
        ggml_tensor* const copy = ggml.ggml_cont(nodes_.get(), x);
        ggml.ggml_set_output(copy);
        read_.push_back(copy);
        expand(copy);
        ggml_tensor* const none = nothing(GGML_TYPE_I32, 0, 1);
        x = ggml.ggml_get_rows(nodes_.get(), x, none);
        x = ggml.ggml_mul_mat(nodes_.get(), weight(kK, 96), x);
        x = ggml.ggml_scale(nodes_.get(), x, 2.0F);
        ggml_tensor* const head = ggml.ggml_mul_mat(nodes_.get(), weight(96, 1024), x);
        expand(head);
        check();
        EXPECT_TRUE(supported(head));
        EXPECT_THAT(host_->take_lines(), IsEmpty());
    }
}

// Each in a process of its own, since settings are read when the plug-in is loaded.
class EmptyExpertsTest : public EmptyTest {
  protected:
    void SetUp() override { RKNPU2_NEEDS_HOST(); }
    void with_each_setting(const std::function<void()>& body) {
        for (const char* const experts : {"auto", "npu", "cpu"}) {
            run_alone([&] {
                setenv("GGML_RKNPU2_EXPERTS", experts, 1);
                open();
                body();
            });
        }
    }
};

TEST_F(EmptyExpertsTest, NoTokens) {
    with_each_setting([&] {
        const HostFunctions& ggml = host_->ggml;
        ggml_tensor* const a = nothing(GGML_TYPE_F32, kK, 1, 0);
        ggml_tensor* const choice = nothing(GGML_TYPE_I32, 2, 0);
        ggml_tensor* const up = ggml.ggml_mul_mat_id(nodes_.get(), stack(kK, 96, 4), a, choice);
        ggml_tensor* const gate = ggml.ggml_mul_mat_id(nodes_.get(), stack(kK, 96, 4), a, choice);
        expand(up);
        expand(gate);
        expect_nothing();
        EXPECT_TRUE(supported(up));
        EXPECT_TRUE(supported(gate));
    });
}

TEST_F(EmptyExpertsTest, NoExpertForAToken) {
    with_each_setting([&] {
        const HostFunctions& ggml = host_->ggml;
        filled_.push_back(tensor(nodes_, GGML_TYPE_F32, kK, 1, 3));
        ggml.ggml_set_input(filled_.back());
        ggml_tensor* const unused = ggml.ggml_mul_mat_id(nodes_.get(), stack(kK, 96, 4), filled_.back(),
                                                         nothing(GGML_TYPE_I32, 0, 3));
        expand(unused);
        expect_nothing();
        EXPECT_TRUE(supported(unused));
    });
}

TEST_F(EmptyTest, NoColumns) {
    weight(kK, 32);  // ggml makes no buffer for nothing
    ggml_tensor* const narrow = host_->ggml.ggml_mul_mat(nodes_.get(), weight(kK, 0), input(kK, 5));
    expand(narrow);
    expect_nothing();
    EXPECT_TRUE(supported(narrow));
}

// With the scheduler the product stays where its weight is: one graph, and the weight is not copied.
TEST_F(EmptyTest, TheSchedulerLeavesTheWeightWhereItIs) {
    const HostFunctions& ggml = host_->ggml;
    ggml_tensor* const head = weight(kK, 4096);
    ggml_tensor* const x = input(kK, 3);
    ggml_tensor* const none = nothing(GGML_TYPE_I32, 0, 1);
    ggml_tensor* const rows = ggml.ggml_get_rows(nodes_.get(), x, none);
    ggml_tensor* const product = ggml.ggml_mul_mat(nodes_.get(), head, rows);
    expand(ggml.ggml_scale(nodes_.get(), x, 2.0F));
    expand(product);
    const auto type = ggml.ggml_backend_dev_buffer_type(host_->device);
    const BufferPtr weights(ggml.ggml_backend_alloc_ctx_tensors_from_buft(weights_.get(), type),
                            ggml.ggml_backend_buffer_free);
    ggml.ggml_backend_buffer_set_usage(weights.get(), GGML_BACKEND_BUFFER_USAGE_WEIGHTS);
    const BackendPtr cpu(ggml.ggml_backend_dev_init(ggml.ggml_backend_dev_by_name("CPU"), nullptr),
                         ggml.ggml_backend_free);
    ggml_backend_t backends[] = {backend_.get(), cpu.get()};
    const HostPtr<ggml_backend_sched> scheduler(
        ggml.ggml_backend_sched_new(backends, nullptr, 2, 256, false, true), ggml.ggml_backend_sched_free);
    ASSERT_TRUE(ggml.ggml_backend_sched_alloc_graph(scheduler.get(), graph_));
    fill_tensors(filled_);
    EXPECT_EQ(ggml.ggml_backend_sched_graph_compute(scheduler.get(), graph_), GGML_STATUS_SUCCESS);
    EXPECT_EQ(product->src[0], head) << "a copy for another backend would be here";
    EXPECT_EQ(simulator_counts().runs, 0U);
}

// Views of nothing, and transfers of no bytes, change nothing and poison nothing.
TEST_F(EmptyTest, NoBytes) {
    const HostFunctions& ggml = host_->ggml;
    ggml_tensor* const stored = weight(kK, 96);
    ggml_tensor* const x = input(kK, 5);
    end(ggml.ggml_mul_mat(nodes_.get(), stored, x));
    ggml_tensor* const view = ggml.ggml_view_2d(nodes_.get(), x, kK, 0, kK * sizeof(float), 0);
    expand(ggml.ggml_mul_mat(nodes_.get(), stored, view));
    allocate();
    const Bytes expected = whole();
    const uint64_t memories = simulator_counts().memories;
    for (ggml_tensor* const tensor : {stored, x, view}) {
        const size_t end_of_it = ggml.ggml_nbytes(tensor);
        for (const size_t at : {size_t{0}, end_of_it}) {
            ggml.ggml_backend_tensor_set(tensor, nullptr, at, 0);
            ggml.ggml_backend_tensor_get(tensor, nullptr, at, 0);
            ggml.ggml_backend_tensor_memset(tensor, 7, at, 0);
        }
    }
    EXPECT_EQ(simulator_counts().memories, memories) << "the packed weight is as it was";
    EXPECT_TRUE(whole() == expected);
    EXPECT_TRUE(node_by_node() == expected);
}

}  // namespace
}  // namespace rknpu2::test
