#include "watched_process.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <stdexcept>
#include <vector>

namespace rknpu2 {
namespace {

using std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr milliseconds kLong{60000};

struct Told {
    std::vector<std::string> messages;
    std::string ending;
};

Told hear(const std::function<void(const WatchedProcess::Send&)>& work, milliseconds patience = kLong) {
    Result<WatchedProcess> process = WatchedProcess::start(work);
    EXPECT_TRUE(process.ok()) << process.status().message();
    Told told;
    while (auto message = process.value().next(patience))
        told.messages.push_back(*message);
    told.ending = process.value().ending();
    EXPECT_FALSE(process.value().stuck());
    return told;
}

TEST(WatchedProcess, MessagesArriveWholeAndInOrder) {
    const std::string with_nul("a\0b\n", 4);
    const std::string large(1000000, 'x');  // more than a pipe holds
    const Told told = hear([&](const WatchedProcess::Send& send) {
        send(with_nul);
        send("");
        send(large);
        send("last");
    });
    EXPECT_THAT(told.messages, ElementsAre(with_nul, "", large, "last"));
    EXPECT_EQ(told.ending, "");
}

TEST(WatchedProcess, WhatItToldStaysHoweverItEnds) {
    Told told = hear([](const WatchedProcess::Send& send) {
        send("one");
        raise(SIGKILL);
    });
    EXPECT_THAT(told.messages, ElementsAre("one"));
    EXPECT_EQ(told.ending, "ended by signal 9 (Killed)");

    told = hear([](const WatchedProcess::Send& send) {
        send("one");
        std::_Exit(3);
    });
    EXPECT_THAT(told.messages, ElementsAre("one"));
    EXPECT_EQ(told.ending, "ended with status 3");

    told = hear([](const WatchedProcess::Send&) { throw std::runtime_error("so be it"); });
    EXPECT_EQ(told.ending, "ended with status 1");
}

TEST(WatchedProcess, SilenceEndsIt) {
    const Told told = hear(
        [](const WatchedProcess::Send& send) {
            send("one");
            while (true)
                pause();
        },
        milliseconds(1500));
    EXPECT_THAT(told.messages, ElementsAre("one"));
    EXPECT_EQ(told.ending, "gave no answer for 1.5 s and was stopped");
}

TEST(WatchedProcess, NobodyOutlivesItsObject) {
    pid_t child = 0;
    {
        Result<WatchedProcess> process = WatchedProcess::start([](const WatchedProcess::Send& send) {
            send(std::to_string(getpid()));
            while (true)
                pause();
        });
        ASSERT_TRUE(process.ok());
        child = std::stoi(process.value().next(kLong).value_or("0"));
    }
    ASSERT_GT(child, 0);
    EXPECT_EQ(kill(child, 0), -1) << "it runs";
}

}  // namespace
}  // namespace rknpu2
