// SPDX-License-Identifier: MIT
#include "watched_process.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <stdexcept>
#include <thread>
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

Told hear(const std::function<void(const WatchedProcess::Link&)>& work, milliseconds patience = kLong) {
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
    const Told told = hear([&](const WatchedProcess::Link& link) {
        link.tell(with_nul);
        link.tell("");
        link.tell(large);
        link.tell("last");
    });
    EXPECT_THAT(told.messages, ElementsAre(with_nul, "", large, "last"));
    EXPECT_EQ(told.ending, "");
}

TEST(WatchedProcess, WhatItToldStaysHoweverItEnds) {
    Told told = hear([](const WatchedProcess::Link& link) {
        link.tell("one");
        raise(SIGKILL);
    });
    EXPECT_THAT(told.messages, ElementsAre("one"));
    EXPECT_EQ(told.ending, "ended by signal 9 (Killed)");

    told = hear([](const WatchedProcess::Link& link) {
        link.tell("one");
        std::_Exit(3);
    });
    EXPECT_THAT(told.messages, ElementsAre("one"));
    EXPECT_EQ(told.ending, "ended with status 3");

    told = hear([](const WatchedProcess::Link&) { throw std::runtime_error("so be it"); });
    EXPECT_EQ(told.ending, "ended with status 1");
}

TEST(WatchedProcess, SilenceEndsIt) {
    const Told told = hear(
        [](const WatchedProcess::Link& link) {
            link.tell("one");
            while (true)
                pause();
        },
        milliseconds(1500));
    EXPECT_THAT(told.messages, ElementsAre("one"));
    EXPECT_EQ(told.ending, "gave no answer for 1.5 s and was stopped");
}

TEST(WatchedProcess, WhoAsksWaitsForTheAnswer) {
    Result<WatchedProcess> process = WatchedProcess::start([](const WatchedProcess::Link& link) {
        link.ask("may I?");
        link.tell("I did");
    });
    ASSERT_TRUE(process.ok());
    EXPECT_EQ(process.value().next(kLong), "may I?");
    // It would have told by now.
    std::this_thread::sleep_for(milliseconds(50));
    process.value().answer();
    EXPECT_EQ(process.value().next(kLong), "I did");
    EXPECT_FALSE(process.value().next(kLong).has_value());
    EXPECT_EQ(process.value().ending(), "");
    process.value().answer();  // to nobody
}

// Its files are closed before the kernel is done with it, as when a driver hangs.
TEST(WatchedProcess, OneThatClosesItsFilesAndStaysIsStopped) {
    const Told told = hear([](const WatchedProcess::Link& link) {
        link.tell("one");
        for (int file = 3; file < 1024; ++file)
            close(file);
        while (true)
            pause();
    });
    EXPECT_THAT(told.messages, ElementsAre("one"));
    EXPECT_EQ(told.ending, "closed all its files and did not end");
}

TEST(WatchedProcess, NobodyOutlivesItsObject) {
    pid_t child = 0;
    {
        Result<WatchedProcess> process = WatchedProcess::start([](const WatchedProcess::Link& link) {
            link.tell(std::to_string(getpid()));
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
