// SPDX-License-Identifier: MIT
#include "base/log.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

namespace rknpu2 {
namespace {

class LogTest : public ::testing::Test {
  protected:
    ~LogTest() override { set_log_sink({}); }
};

TEST_F(LogTest, TheSinkGetsWholeLinesUntilItIsReplaced) {
    std::vector<std::string> lines;
    set_log_sink([&](LogLevel level, const std::string& line) {
        EXPECT_EQ(level, LogLevel::kWarning);
        lines.push_back(line);
    });
    log(LogLevel::kWarning, "%s and %d", "one", 2);
    set_log_sink({});
    log(LogLevel::kWarning, "silence");
    EXPECT_EQ(lines, std::vector<std::string>{"one and 2"});
}

TEST_F(LogTest, ASinkMayLogItself) {
    std::vector<std::string> lines;
    set_log_sink([&](LogLevel level, const std::string& line) {
        lines.push_back(line);
        if (line == "first") log(level, "second");
    });
    log(LogLevel::kInfo, "first");
    EXPECT_EQ(lines, (std::vector<std::string>{"first", "second"}));
}

// As a host's callback may that hands its lines to another thread, or stops one.
TEST_F(LogTest, ASinkMayWaitForAnotherThreadThatLogs) {
    std::atomic<int> others{0};
    const std::thread::id here = std::this_thread::get_id();
    set_log_sink([&](LogLevel level, const std::string&) {
        if (std::this_thread::get_id() != here) {
            ++others;
            return;
        }
        std::thread([level] { log(level, "of another thread"); }).join();
    });
    log(LogLevel::kInfo, "of this one");
    EXPECT_EQ(others, 1);
}

}  // namespace
}  // namespace rknpu2
