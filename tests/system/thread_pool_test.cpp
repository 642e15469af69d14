// SPDX-License-Identifier: MIT
#include "system/thread_pool.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>

#include <climits>
#include <mutex>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "base/log.hpp"
#include "support/failing_threads.hpp"

namespace rknpu2 {
namespace {

TEST(ThreadPool, CallsEachIndexOnce) {
    for (const int threads : {1, 2, 5}) {
        ThreadPool pool(threads);
        EXPECT_EQ(pool.threads(), threads);
        for (const size_t count : {0U, 1U, 2U, 3U, 1000U}) {
            std::vector<std::atomic<int>> calls(count);
            pool.parallel_for(count, [&](size_t i) { calls[i].fetch_add(1); });
            for (size_t i = 0; i < count; ++i)
                EXPECT_EQ(calls[i].load(), 1) << "index " << i << " of " << count;
        }
    }
}

TEST(ThreadPool, ServesSeveralCallers) {
    ThreadPool pool(3);
    std::atomic<size_t> sum{0};
    std::vector<std::thread> callers;
    for (int c = 0; c < 4; ++c) {
        callers.emplace_back([&] {
            for (int round = 0; round < 200; ++round)
                pool.parallel_for(7, [&](size_t i) { sum += i; });
        });
    }
    for (std::thread& caller : callers)
        caller.join();
    EXPECT_EQ(sum.load(), 4U * 200U * 21U);
}

TEST(ThreadPool, AThreadThatWakesLateFindsNothingToDo) {
    ThreadPool pool(3);
    for (int round = 0; round < 300; ++round) {
        if (round % 10 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));  // the team sleeps
        std::vector<std::atomic<int>> calls(2);
        pool.parallel_for(calls.size(), [&](size_t i) { calls.at(i).fetch_add(1); });
        EXPECT_EQ(calls[0] + calls[1], 2);
    }
}

TEST(ThreadPool, TheTeamRunsWhereItMayAndTheCallerWhereItDid) {
    cpu_set_t before;
    ASSERT_EQ(sched_getaffinity(0, sizeof before, &before), 0);
    int cpu = 0;
    while (!CPU_ISSET(cpu, &before))
        ++cpu;
    ThreadPool pool(2, {cpu});
    std::atomic<int> there{0};
    std::vector<cpu_set_t> sets(2);
    const std::thread::id caller = std::this_thread::get_id();
    pool.parallel_for(2, [&](size_t) {
        for (++there; there < 2;)
            std::this_thread::yield();  // so that either thread has one
        sched_getaffinity(0, sizeof(cpu_set_t), &sets[std::this_thread::get_id() == caller ? 0 : 1]);
    });
    EXPECT_TRUE(CPU_EQUAL(&sets[0], &before));
    EXPECT_EQ(CPU_COUNT(&sets[1]), 1);
    EXPECT_TRUE(CPU_ISSET(cpu, &sets[1]));
}

// Counts who is in a scope.
struct Inside {
    explicit Inside(std::atomic<int>& counter) : count(counter) { ++count; }
    ~Inside() { --count; }
    std::atomic<int>& count;
};

// The caller's frame is in use as long as a body runs, so nobody may be inside any more when it is left.
TEST(ThreadPool, ABodyThatThrowsOnTheCallersThreadIsReportedWhenAllHaveEnded) {
    for (const int threads : {2, 4}) {
        ThreadPool pool(threads);
        const std::thread::id caller = std::this_thread::get_id();
        for (int round = 0; round < 20; ++round) {
            std::atomic<int> inside{0};
            std::atomic<bool> thrown{false};
            const auto body = [&](size_t) {
                const Inside here(inside);
                if (std::this_thread::get_id() != caller) {
                    while (!thrown)
                        std::this_thread::yield();
                    std::this_thread::sleep_for(std::chrono::milliseconds(1));
                    return;
                }
                while (inside < 2)  // until a helper is there, too
                    std::this_thread::yield();
                thrown = true;
                throw std::bad_alloc();
            };
            EXPECT_THROW(pool.parallel_for(100, body), std::bad_alloc);
            EXPECT_EQ(inside, 0);
        }
        std::atomic<size_t> sum{0};
        pool.parallel_for(10, [&](size_t i) { sum += i; });
        EXPECT_EQ(sum, 45U);
    }
}

TEST(ThreadPool, ABodyThatThrowsOnAHelperIsReportedToTheCaller) {
    for (const int threads : {2, 4}) {
        ThreadPool pool(threads);
        const std::thread::id caller = std::this_thread::get_id();
        for (int round = 0; round < 20; ++round) {
            std::atomic<int> inside{0};
            std::atomic<bool> thrown{false};
            const auto body = [&](size_t) {
                const Inside here(inside);
                if (std::this_thread::get_id() == caller) {
                    while (!thrown)
                        std::this_thread::yield();
                    return;
                }
                thrown = true;
                throw std::runtime_error("of a helper");
            };
            try {
                pool.parallel_for(100, body);
                ADD_FAILURE() << "nothing was thrown";
            } catch (const std::runtime_error& error) {
                EXPECT_STREQ(error.what(), "of a helper");
            }
            EXPECT_EQ(inside, 0);
        }
    }
}

TEST(ThreadPool, ALoneThreadThrowsAtOnceAndEveryoneThrowsOnce) {
    ThreadPool alone(1);
    int calls = 0;
    EXPECT_THROW(alone.parallel_for(5,
                                    [&](size_t) {
                                        ++calls;
                                        throw std::bad_alloc();
                                    }),
                 std::bad_alloc);
    EXPECT_EQ(calls, 1);
    ThreadPool pool(4);
    std::atomic<int> thrown{0};
    EXPECT_THROW(pool.parallel_for(100,
                                   [&](size_t) {
                                       ++thrown;
                                       throw std::bad_alloc();
                                   }),
                 std::bad_alloc);
    EXPECT_GE(thrown, 1);
    EXPECT_LE(thrown, 4);
}

class FewThreads : public ::testing::Test {
  protected:
    ~FewThreads() override {
        fail_threads(0, 0);
        set_log_sink({});
    }
};

// The n-th thread cannot be had, or that and all later ones.
TEST_F(FewThreads, APoolDoesWithThoseThereAre) {
    for (const int count : {1, INT_MAX}) {
        for (int first = 1; first <= 8; ++first) {
            fail_threads(first, count);
            ThreadPool pool(7);
            EXPECT_EQ(failed_threads(), first <= 6 ? 1 : 0);
            EXPECT_EQ(pool.threads(), std::min(first, 7));
            std::vector<std::atomic<int>> calls(1000);
            pool.parallel_for(calls.size(), [&](size_t i) { ++calls[i]; });
            for (const std::atomic<int>& called : calls)
                EXPECT_EQ(called, 1);
        }
    }
}

TEST_F(FewThreads, ThreadsThatCanBeStartedAreCounted) {
    EXPECT_EQ(startable_threads(0), 0U);
    EXPECT_EQ(startable_threads(5), 5U);
    fail_threads(3, 1);
    EXPECT_EQ(startable_threads(5), 2U);
    fail_threads(1, INT_MAX);
    EXPECT_EQ(startable_threads(5), 0U);
}

// In a process of its own, which has not told of it yet.
TEST_F(FewThreads, OneLineForTheProcessSaysSo) {
#if !defined(__aarch64__)  // QEMU, which runs these programs on a PC, cannot start one anew
    ::testing::FLAGS_gtest_death_test_style = "threadsafe";
#endif
    const auto run = [] {
        std::vector<std::string> lines;
        set_log_sink([&](LogLevel level, const std::string& line) {
            EXPECT_EQ(level, LogLevel::kWarning);
            lines.push_back(line);
        });
        fail_threads(3, INT_MAX);
        { const ThreadPool pool(8); }
        { const ThreadPool pool(4); }
        set_log_sink({});
        ASSERT_EQ(lines.size(), 1U);
        EXPECT_THAT(lines[0], ::testing::StartsWith("only 2 of 7 threads could be started"));
    };
    EXPECT_EXIT(
        {
            run();
            std::_Exit(HasFailure() ? 1 : 0);
        },
        ::testing::ExitedWithCode(0), "");
}

// A handler of the host's must not run on a thread that holds locks of ours.
TEST(ThreadPool, SignalsForTheProcessAreNotForTheTeam) {
    const auto blocked = [](int signal) {
        sigset_t set;
        pthread_sigmask(SIG_BLOCK, nullptr, &set);
        return sigismember(&set, signal) == 1;
    };
    ASSERT_FALSE(blocked(SIGINT));
    StartedThreads team;
    std::atomic<int> threads{0};
    team.start(2, [&](size_t) {
        for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGALRM})
            EXPECT_TRUE(blocked(signal)) << signal;
        for (const int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGPROF})
            EXPECT_FALSE(blocked(signal)) << signal;
        ++threads;
    });
    team.join();
    EXPECT_EQ(threads, 2);
    EXPECT_FALSE(blocked(SIGINT)) << "the caller's are as they were";
}

}  // namespace
}  // namespace rknpu2
