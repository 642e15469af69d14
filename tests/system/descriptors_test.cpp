// SPDX-License-Identifier: MIT
#include "system/process.hpp"

#include <gtest/gtest.h>

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <vector>

namespace rknpu2 {
namespace {

TEST(Descriptors, FewerAreLeftWhenMoreAreOpen) {
    rlimit before{};
    ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
    EXPECT_EQ(descriptor_limit(), before.rlim_cur);
    rlimit low = before;
    low.rlim_cur = 64;
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &low), 0);
    EXPECT_EQ(descriptor_limit(), 64U);
    const uint64_t left = descriptors_left();
    EXPECT_GT(left, 10U);
    EXPECT_LT(left, 64U);
    std::vector<int> open_ones;
    for (int fd = open("/dev/null", O_RDONLY); fd >= 0; fd = open("/dev/null", O_RDONLY))
        open_ones.push_back(fd);
    EXPECT_EQ(descriptors_left(), 0U);
    for (const int fd : open_ones)
        close(fd);
    EXPECT_EQ(descriptors_left(), left);
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
}

}  // namespace
}  // namespace rknpu2
