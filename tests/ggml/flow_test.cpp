// SPDX-License-Identifier: MIT
// Prompts that flow through whole layers in chunks give the bits of their nodes one by one: outputs and
// caches.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "ggml/layer_graph.hpp"

namespace rknpu2::test {
namespace {

class FlowGraphTest : public ::testing::Test {
  protected:
    void SetUp() override {
        RKNPU2_NEEDS_HOST();
        stats_ =
            std::filesystem::temp_directory_path() / ("rknpu2-flow-" + std::to_string(getpid()) + ".json");
        setenv("GGML_RKNPU2_STATS", stats_.c_str(), 1);
        host_ = GgmlHost::open_with_device();
        ASSERT_TRUE(host_);
    }
    void TearDown() override {
        std::filesystem::remove(stats_);
        unsetenv("GGML_RKNPU2_STATS");
    }

    // How many stretches have flowed since the process began; written when a backend goes.
    uint64_t counter(const char* name) {
        std::ifstream file(stats_);
        return nlohmann::json::parse(file).at(name).get<uint64_t>();
    }

    // Computes it both ways; how many nodes flowed.
    uint64_t check(const LayerOptions& options, uint32_t seed) {
        LayerGraph graph(*host_, options, seed);
        std::vector<std::vector<uint8_t>> apart;
        {
            const BackendPtr backend = new_backend(*host_);
            apart = graph.compute(backend.get(), true);
        }
        const uint64_t before = counter("flow_nodes");
        {
            const BackendPtr backend = new_backend(*host_);
            EXPECT_EQ(graph.compute(backend.get(), false), apart);
            EXPECT_EQ(graph.compute(backend.get(), false), apart) << "the second time";
        }
        return (counter("flow_nodes") - before) / 2;
    }

    // Nodes of a layer without variations, which add some: less, and a part of one has not flowed.
    static constexpr uint64_t kLayer = 29;

    std::filesystem::path stats_;
    std::unique_ptr<GgmlHost> host_;
};

TEST_F(FlowGraphTest, WholeLayersAreOneStretch) {
    for (const int64_t tokens : {128, 191, 300}) {
        LayerOptions options;
        options.tokens = tokens;
        EXPECT_EQ(check(options, 1), 2 * kLayer) << tokens;
    }
}

TEST_F(FlowGraphTest, FewerRowsDoNotFlow) {
    LayerOptions options;
    options.tokens = 127;
    EXPECT_EQ(check(options, 1), 0U);
}

TEST_F(FlowGraphTest, MasksThatShowWhatComesLater) {
    LayerOptions options;
    options.tokens = 256;
    options.causal = false;
    EXPECT_EQ(check(options, 2), 2 * kLayer);
}

TEST_F(FlowGraphTest, EveryVariation) {
    for (const auto variation :
         {&LayerOptions::biases, &LayerOptions::qkv_together, &LayerOptions::head_norms, &LayerOptions::gelu,
          &LayerOptions::scaled, &LayerOptions::middle_output, &LayerOptions::used_again}) {
        LayerOptions options;
        options.tokens = 150;
        options.*variation = true;
        EXPECT_GE(check(options, 3), 2 * kLayer);
    }
}

// Rows of another length there: those of one chunk would lie where another's are still to be read.
TEST_F(FlowGraphTest, AResultInTheMemoryOfTheInput) {
    LayerOptions options;
    options.tokens = 300;
    options.layers = 1;
    options.ends_with_gate = true;
    EXPECT_EQ(check(options, 4), kLayer - 3);  // what comes after the gate
}

TEST_F(FlowGraphTest, RandomCombinations) {
    for (uint32_t seed = 1; seed <= 12; ++seed) {
        Random random(seed);
        const auto coin = [&] { return random.bits() % 2 == 0; };
        LayerOptions options;
        options.tokens = 128 + static_cast<int64_t>(random.bits() % 150);
        options.layers = 1 + static_cast<int>(random.bits() % 3);
        for (const auto variation :
             {&LayerOptions::causal, &LayerOptions::biases, &LayerOptions::qkv_together,
              &LayerOptions::head_norms, &LayerOptions::gelu, &LayerOptions::scaled,
              &LayerOptions::middle_output, &LayerOptions::infinite_cells, &LayerOptions::used_again})
            options.*variation = coin();
        EXPECT_GE(check(options, seed), static_cast<uint64_t>(options.layers) * kLayer) << "seed " << seed;
    }
}

// The backend outlives the model, as a server's does.
TEST_F(FlowGraphTest, NothingOfAModelStaysBehind) {
    const BackendPtr backend = new_backend(*host_);
    {
        LayerGraph graph(*host_, {}, 6);
        graph.compute(backend.get(), false);
        EXPECT_GT(simulator_counts().memories, 0U);
    }
    EXPECT_EQ(simulator_counts().memories, 0U);
    EXPECT_EQ(simulator_counts().contexts, 0U);
}

TEST_F(FlowGraphTest, AHostThatAsksToStopIsHeard) {
    LayerOptions options;
    LayerGraph graph(*host_, options, 5);
    const BackendPtr backend = new_backend(*host_);
    const auto expected = graph.compute(backend.get(), false);
    const auto set = reinterpret_cast<ggml_backend_set_abort_callback_t>(
        host_->ggml.ggml_backend_reg_get_proc_address(host_->plugin, "ggml_backend_set_abort_callback"));
    ASSERT_NE(set, nullptr);
    int questions = 0;
    set(
        backend.get(), [](void* data) { return ++*static_cast<int*>(data) > 9; }, &questions);
    graph.fill();
    EXPECT_EQ(host_->ggml.ggml_backend_graph_compute(backend.get(), graph.graph()), GGML_STATUS_ABORTED);
    set(backend.get(), nullptr, nullptr);
    EXPECT_EQ(graph.compute(backend.get(), false), expected);
}

}  // namespace
}  // namespace rknpu2::test
