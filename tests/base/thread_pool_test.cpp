#include "base/thread_pool.hpp"

#include <gtest/gtest.h>

#include <thread>

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

}  // namespace
}  // namespace rknpu2
