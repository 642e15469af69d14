// SPDX-License-Identifier: MIT
// GGML_RKNPU2_ON_ERROR with the simulator's faults: what the plug-in tries again gives the fault-free bits,
// and a line for every step. Each test runs in a process of its own, since settings are read when the plug-in
// is loaded.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "ggml/faulty_products.hpp"
#include "support/missing_path.hpp"

namespace rknpu2::test {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

double largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
    double largest = 0;
    for (size_t i = 0; i < a.size(); ++i)
        largest = std::max(largest, std::abs(double(a[i]) - double(b[i])));
    return largest;
}

class RecoveryTest : public ::testing::Test {
  protected:
    void SetUp() override { RKNPU2_NEEDS_HOST(); }

    struct Seen {
        std::vector<std::vector<float>> results;  // empty: the product failed
        std::vector<std::string> lines;
        bool all() const {
            return std::none_of(results.begin(), results.end(), [](const auto& r) { return r.empty(); });
        }
    };

    // The same `rounds` products whatever fails, on all cores, in more rows than a run has.
    static Seen multiply(const std::string& faults, const std::string& on_error, int rounds) {
        Seen seen;
        for (FaultyProduct& product :
             multiply_under_faults(faults, on_error, GGML_TYPE_Q8_0, {260, 300, 192}, rounds)) {
            seen.lines.insert(seen.lines.end(), product.lines.begin(), product.lines.end());
            seen.results.push_back(std::move(product.out));
        }
        return seen;
    }

    // In processes of their own, the fault-free results and those with faults; through a file.
    static std::vector<std::vector<float>> fault_free(int rounds) {
        const std::string path = ::testing::TempDir() + "recovery-" + std::to_string(getpid());
        run_alone([&] {
            const Seen seen = multiply("", "fail", rounds);
            ASSERT_TRUE(seen.all());
            ASSERT_THAT(seen.lines, IsEmpty());
            std::ofstream file(path, std::ios::binary);
            for (const std::vector<float>& result : seen.results)
                file.write(reinterpret_cast<const char*>(result.data()),
                           static_cast<std::streamsize>(result.size() * sizeof(float)));
        });
        std::ifstream file(path, std::ios::binary);
        std::stringstream content;
        content << file.rdbuf();
        unlink(path.c_str());
        const std::string bytes = content.str();
        const size_t each = bytes.size() / static_cast<size_t>(rounds);
        std::vector<std::vector<float>> results;
        for (size_t i = 0; i < static_cast<size_t>(rounds); ++i) {
            results.emplace_back(each / sizeof(float));
            std::copy_n(bytes.data() + i * each, each, reinterpret_cast<char*>(results.back().data()));
        }
        EXPECT_GT(each, 0U);
        return results;
    }
};

TEST_F(RecoveryTest, ALostSubmitIsDoneAgainByDefault) {
    const auto right = fault_free(4);
    run_alone([&] {
        const Seen seen = multiply("lost:nth=8", "", 4);
        EXPECT_TRUE(seen.results == right) << "not the same bits";
        ASSERT_THAT(seen.lines, SizeIs(1));
        EXPECT_THAT(seen.lines[0],
                    AllOf(HasSubstr("weight: timeout: "), HasSubstr("(timed out); trying again")));
    });
}

// The core works again only after the context that hung it is gone.
TEST_F(RecoveryTest, AHungCore) {
    const auto right = fault_free(4);
    run_alone([&] {
        const Seen seen = multiply("hang:core=1:nth=3", "retry", 4);
        EXPECT_TRUE(seen.results == right) << "not the same bits";
        EXPECT_THAT(seen.lines, SizeIs(1));
    });
}

// Runs and other calls fail now and then: with enough steps no product does, and each has its bits.
TEST_F(RecoveryTest, ManyFaults) {
    constexpr int kRounds = 40;
    const auto right = fault_free(kRounds);
    run_alone([&] {
        const Seen seen = multiply(
            "fail:rknn_matmul_run:share=0.01:code=-1,lost:share=0.01,fail:rknn_matmul_set_io_mem:share=0.005,"
            "fail:rknn_mem_sync:share=0.0025,seed:5",
            "retry,reset,retry,reset,retry,reset,retry,reset", kRounds);
        EXPECT_TRUE(seen.results == right) << "not the same bits";
        EXPECT_GT(seen.lines.size(), 5U);
        EXPECT_THAT(seen.lines, Each(HasSubstr("trying again")));
    });
}

// The NPU answers no more. Results from the CPU are near, and no other's bits.
TEST_F(RecoveryTest, TheCpuTakesOverWhenTheNpuIsGone) {
    const auto right = fault_free(3);
    run_alone([&] {
        const Seen seen = multiply("lost:from=12", "retry,reset,cpu", 3);
        ASSERT_TRUE(seen.all());
        EXPECT_EQ(seen.results[0], right[0]);
        EXPECT_NE(seen.results[2], right[2]);
        EXPECT_LT(largest_difference(right[2], seen.results[2]), 1.0);
        ASSERT_GE(seen.lines.size(), 3U);
        EXPECT_THAT(seen.lines.back(), HasSubstr("computing it on the CPU"));
    });
}

// The weight has no place at first; then it has, and the results are what they would have been.
TEST_F(RecoveryTest, NoMemoryForAWeight) {
    const auto right = fault_free(2);
    run_alone([&] {
        const Seen seen = multiply("fail:rknn_create_mem:nth=1", "reset", 2);
        EXPECT_TRUE(seen.results == right) << "not the same bits";
        ASSERT_THAT(seen.lines, SizeIs(1));
        EXPECT_THAT(seen.lines[0], AllOf(HasSubstr("weight: "), HasSubstr("trying again after dropping")));
    });
}

TEST_F(RecoveryTest, TheCpuMultipliesByAWeightThatHasNoMemory) {
    const auto right = fault_free(2);
    run_alone([&] {
        const Seen seen = multiply("fail:rknn_create_mem:from=1", "retry,cpu", 2);
        ASSERT_TRUE(seen.all());
        EXPECT_GT(largest_difference(right[1], seen.results[1]), 0.0);
        EXPECT_LT(largest_difference(right[1], seen.results[1]), 1.0);
        ASSERT_THAT(seen.lines, SizeIs(2))
            << "the second product finds out by itself that nothing has changed";
        EXPECT_THAT(seen.lines[0], HasSubstr("trying again in new contexts"));
        EXPECT_THAT(seen.lines[1], HasSubstr("computing it on the CPU"));
    });
}

TEST_F(RecoveryTest, WhenNothingHelpsTheProductFails) {
    run_alone([] {
        const Seen seen = multiply("lost:from=1", "", 2);
        EXPECT_THAT(seen.results, Each(IsEmpty()));
        ASSERT_THAT(seen.lines, SizeIs(6));
        EXPECT_THAT(seen.lines[0], HasSubstr("in new contexts"));
        EXPECT_THAT(seen.lines[1], HasSubstr("after dropping all contexts and work areas"));
        EXPECT_THAT(seen.lines[2],
                    AllOf(HasSubstr("MUL_MAT with weight (q8_0): timeout: after retry and reset: "),
                          HasSubstr("(timed out)")));
    });
}

// In place of the file for the lock there is a link: no device, one line, and where it points is untouched.
TEST_F(RecoveryTest, ALinkInPlaceOfTheLock) {
    run_alone([] {
        const std::string path = ::testing::TempDir() + "link-" + std::to_string(getpid());
        ASSERT_EQ(symlink(missing_path("file").c_str(), path.c_str()), 0);
        setenv("GGML_RKNPU2_LOCK", path.c_str(), 1);
        const auto host = GgmlHost::open(stock_files());
        ASSERT_TRUE(host);
        host->load_plugin();
        EXPECT_THAT(host->take_lines(), ::testing::ElementsAre(HasSubstr("cannot lock the NPU: " + path +
                                                                         ": is a symbolic link")));
        EXPECT_EQ(host->device, nullptr);
        unlink(path.c_str());
    });
}

TEST_F(RecoveryTest, AListThatIsNone) {
    run_alone([] {
        setenv("GGML_RKNPU2_ON_ERROR", "cpu,retry", 1);
        const auto host = GgmlHost::open(stock_files());
        ASSERT_TRUE(host);
        host->load_plugin();
        EXPECT_THAT(
            host->take_lines(),
            ::testing::ElementsAre(HasSubstr("not loaded: GGML_RKNPU2_ON_ERROR=cpu,retry: must be a list")));
        EXPECT_EQ(host->plugin, nullptr);
    });
}

}  // namespace
}  // namespace rknpu2::test
