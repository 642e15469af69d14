// SPDX-License-Identifier: MIT
// More shapes than contexts are kept for, and more contexts than the runtime can have.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <cstdlib>

#include "ggml/hazards_fixture.hpp"

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
                allow_descriptors();
                unsetenv("GGML_RKNPU2_CONTEXTS");
                setenv("GGML_RKNPU2_ON_ERROR", on_error, 1);
                setenv("RKNNSIM_CONTEXTS", "150", 1);
                setenv("RKNNSIM_MANY_CONTEXTS", "fail", 1);
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
