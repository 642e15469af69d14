// SPDX-License-Identifier: MIT
#include "system/start_wait.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "base/log.hpp"

namespace rknpu2 {
namespace {

using std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class StartWaitTest : public ::testing::Test {
  protected:
    void SetUp() override {
        set_log_sink([this](LogLevel, const std::string& line) { lines_.push_back(line); });
    }
    void TearDown() override { set_log_sink({}); }
    StartWait::Sleep sleep() {
        return [this](milliseconds time) { slept_.push_back(time.count()); };
    }

    const Status refusal_{StatusCode::kOutOfMemory, "no"};
    std::vector<int64_t> slept_;
    std::vector<std::string> lines_;
};

TEST_F(StartWaitTest, GrowsAndEnds) {
    StartWait wait(milliseconds(5000), sleep());
    while (wait.again_after(refusal_)) {
    }
    EXPECT_THAT(slept_, ElementsAre(100, 200, 400, 800, 1600, 1900));
    EXPECT_FALSE(wait.again_after(refusal_));
    EXPECT_THAT(
        lines_,
        ElementsAre(HasSubstr("the NPU is not free: out of memory: no; trying again for 5.0 seconds")));
}

TEST_F(StartWaitTest, NobodyWaitsOnceSomethingWasGiven) {
    StartWait wait(milliseconds(5000), sleep());
    EXPECT_TRUE(wait.again_after(refusal_));
    wait.over();
    EXPECT_FALSE(wait.again_after(refusal_));
    EXPECT_THAT(slept_, ElementsAre(100));
}

TEST_F(StartWaitTest, NoPatience) {
    StartWait wait(milliseconds(0), sleep());
    EXPECT_FALSE(wait.again_after(refusal_));
    EXPECT_THAT(slept_, IsEmpty());
    EXPECT_THAT(lines_, IsEmpty());
}

// Without a sleep of the test's own the thread sleeps; no more than that it comes back is asked here.
TEST_F(StartWaitTest, SleepsByItself) {
    StartWait wait(milliseconds(1));
    EXPECT_TRUE(wait.again_after(refusal_));
    EXPECT_FALSE(wait.again_after(refusal_));
}

}  // namespace
}  // namespace rknpu2
