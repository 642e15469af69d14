// SPDX-License-Identifier: MIT
// Lines are maintained by whoever has the cache: a simulator's library, the CPU, or nobody.
#include "runtime/cache_lines.hpp"

#include <gtest/gtest.h>

#include <dlfcn.h>

#include <array>
#include <cstring>
#include <string>

namespace rknpu2 {
namespace {

using Operation = CacheLines::Operation;

void* library(const char* name) {
    void* const handle = dlopen((std::string(STAND_INS "/") + name).c_str(), RTLD_NOW | RTLD_LOCAL);
    EXPECT_NE(handle, nullptr) << dlerror();
    return handle;
}

TEST(CacheLinesTest, ALibraryWithACacheOfItsOwnIsAsked) {
    void* const handle = library("with_cache.so");
    const CacheLines lines(handle);
    ASSERT_TRUE(lines.available());
    const auto* const last = static_cast<const uint64_t*>(dlsym(handle, "last_cache_lines"));
    ASSERT_NE(last, nullptr);
    std::array<char, 300> memory{};
    ASSERT_TRUE(lines.apply(Operation::kClean, memory.data() + 10, 200).ok());
    EXPECT_EQ(last[0], reinterpret_cast<uint64_t>(memory.data() + 10));
    EXPECT_EQ(last[1], 200U);
    EXPECT_EQ(last[2], 1U);
    ASSERT_TRUE(lines.apply(Operation::kCleanAndInvalidate, memory.data(), 300).ok());
    EXPECT_EQ(last[2], 2U);
    EXPECT_EQ(lines.apply(Operation::kClean, nullptr, 1).code(), StatusCode::kDeviceError);
}

TEST(CacheLinesTest, ElseTheCpuDoesItIfItCan) {
    const CacheLines lines(library("no_version.so"));
    std::array<char, 300> memory{};
    memory.fill('x');
    const std::array<char, 300> before = memory;
    for (const Operation operation : {Operation::kClean, Operation::kCleanAndInvalidate}) {
#if defined(__aarch64__)
        EXPECT_TRUE(lines.apply(operation, memory.data() + 3, 290).ok());
#else
        EXPECT_EQ(lines.apply(operation, memory.data() + 3, 290).code(), StatusCode::kUnsupported);
#endif
    }
    EXPECT_EQ(memory, before);
}

}  // namespace
}  // namespace rknpu2
