// SPDX-License-Identifier: MIT
// More shapes than contexts are kept for, and more contexts than the runtime can have.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <cstdlib>

#include "ggml/hazards_fixture.hpp"
#include "ggml/layer_graph.hpp"

namespace rknpu2::test {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// Each test runs in a process of its own, since settings are read when the plug-in is loaded.
class ContextsTest : public HazardsTest {
  protected:
    static constexpr int64_t kNarrow = 96;

    void SetUp() override { RKNPU2_NEEDS_HOST(); }

    // A chain of products by weights of twice `shapes` shapes, nearly all on three cores.
    void chain(int64_t shapes, int64_t rows) {
        begin();
        ggml_tensor* x = input(kNarrow, rows);
        for (int64_t i = 1; i <= shapes; ++i) {
            x = host_->ggml.ggml_mul_mat(nodes_.get(), weight(kNarrow, kNarrow * i), x);
            x = host_->ggml.ggml_mul_mat(nodes_.get(), weight(kNarrow * i, kNarrow), x);
        }
        end(x);
        host_->take_lines();
    }

    // Layers after a chain of many shapes, where every run fails with more contexts alive than the limit. True: attention has found
    // out.
    bool attention_finds_out(int64_t limit, int64_t tokens, const char* on_error) {
        SCOPED_TRACE(::testing::Message() << limit << " contexts, " << tokens << " tokens, " << on_error);
        fail_beyond(limit, on_error);
        setenv("GGML_RKNPU2_ATTENTION", "npu", 1);
        open();
        chain(24, 2);
        allocate();
        whole();
        EXPECT_THAT(take_warnings(), IsEmpty());
        LayerOptions options;
        options.tokens = tokens;
        LayerGraph graph(*host_, options, 1);
        const Bytes first = graph.compute(backend_.get(), false);
        const std::vector<std::string> lines = take_warnings();
        if (lines.empty()) return false;
        EXPECT_THAT(lines[0], HasSubstr("contexts alive that may be for their number"));
        EXPECT_LE(simulator_counts().contexts, 150U);
        EXPECT_TRUE(graph.compute(backend_.get(), false) == first);
        EXPECT_TRUE(graph.compute(backend_.get(), true) == first);
        EXPECT_THAT(take_warnings(), IsEmpty());
        if (lines[0].find("attention") == std::string::npos) return false;
        EXPECT_EQ(lines.size(), tokens < kRows ? 1U : 2U);
        EXPECT_THAT(lines.back(), HasSubstr(tokens < kRows ? "alive" : "prompts do not flow"));
        return true;
    }

    // Without the progress of packing, which a slow machine has lines about.
    std::vector<std::string> take_warnings() {
        std::vector<std::string> lines = host_->take_lines();
        std::erase_if(lines,
                      [](const std::string& line) { return line.find("packing weights") != line.npos; });
        return lines;
    }

    static void fail_beyond(int64_t limit, const char* on_error) {
        allow_descriptors();
        unsetenv("GGML_RKNPU2_CONTEXTS");
        setenv("GGML_RKNPU2_ON_ERROR", on_error, 1);
        setenv("RKNNSIM_CONTEXTS", std::to_string(limit).c_str(), 1);
        setenv("RKNNSIM_MANY_CONTEXTS", "fail", 1);
    }

    // Enough for more contexts than the runtime has in these tests.
    static void allow_descriptors() {
        rlimit limit{};
        ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
        limit.rlim_cur = std::min<rlim_t>(limit.rlim_max, 4096);
        ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
        ASSERT_GE(limit.rlim_cur, 1600U) << "ulimit -Hn";
    }
};

// Told once, and computed one by one.
TEST_F(ContextsTest, AFlowOfTooManyShapes) {
    run_alone([&] {
        setenv("GGML_RKNPU2_CONTEXTS", "120", 1);
        open();
        chain(25, kRows);
        check();
        EXPECT_THAT(host_->take_lines(), ElementsAre(HasSubstr("too many shapes for one flow")));
    });
}

TEST_F(ContextsTest, AFlowOfManyShapes) {
    run_alone([&] {
        setenv("GGML_RKNPU2_CONTEXTS", "400", 1);
        setenv("RKNNSIM_CONTEXTS", "1000", 1);
        open();
        chain(60, kRows);
        check();
        EXPECT_THAT(host_->take_lines(), IsEmpty());
        EXPECT_GT(simulator_counts().contexts, 300U);
    });
}

// The runtime fails every run with more than 150 contexts alive: told once, and right from then on.
TEST_F(ContextsTest, FewerAreKeptAfterAFailure) {
    for (const int64_t rows : {int64_t{2}, kRows}) {
        for (const char* const on_error : {"fail", "retry,reset,fail"}) {
            run_alone([&] {
                fail_beyond(150, on_error);
                open();
                chain(40, rows);
                allocate();
                const Bytes expected = whole();
                const std::vector<std::string> lines = host_->take_lines();
                ASSERT_FALSE(lines.empty());
                EXPECT_THAT(lines[0], AllOf(HasSubstr("contexts alive that may be for their number"),
                                            HasSubstr("keeping 120")));
                if (rows == kRows) {
                    ASSERT_EQ(lines.size(), 2U);
                    EXPECT_THAT(lines[1], HasSubstr("too many shapes for one flow"));
                } else {
                    EXPECT_EQ(lines.size(), 1U);
                }
                EXPECT_TRUE(node_by_node() == expected);
                EXPECT_TRUE(whole() == expected);
                EXPECT_THAT(host_->take_lines(), IsEmpty());
                EXPECT_LE(simulator_counts().contexts, 150U);
            });
        }
    }
}

// The contexts of a layer's products come first, then those of its attention.
TEST_F(ContextsTest, FewerAreKeptAfterAFailureOfAttention) {
    for (const int64_t tokens : {int64_t{8}, int64_t{300}}) {
        for (const char* const on_error : {"fail", "retry,reset,fail"}) {
            int met = 0;
            for (int64_t limit = 142; met == 0; ++limit) {
                met = run_in_child([&] { return attention_finds_out(limit, tokens, on_error) ? 1 : 0; });
                ASSERT_GE(met, 0);
                ASSERT_LT(limit, 160) << tokens;
            }
        }
    }
}

// A number that the user gave is kept to: it fails as GGML_RKNPU2_ON_ERROR has it.
TEST_F(ContextsTest, ANumberThatWasGivenIsKeptTo) {
    run_alone([&] {
        setenv("GGML_RKNPU2_CONTEXTS", "500", 1);
        setenv("GGML_RKNPU2_ON_ERROR", "fail", 1);
        setenv("RKNNSIM_CONTEXTS", "150", 1);
        setenv("RKNNSIM_MANY_CONTEXTS", "fail", 1);
        open();
        chain(40, 2);
        allocate();
        fill();
        EXPECT_EQ(host_->ggml.ggml_backend_graph_compute(backend_.get(), graph_), GGML_STATUS_FAILED);
        EXPECT_THAT(host_->take_lines(), ElementsAre(HasSubstr("the runtime answered -1")));
    });
}

}  // namespace
}  // namespace rknpu2::test
