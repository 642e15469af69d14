// SPDX-License-Identifier: MIT
// Large blocks of malloc before and after the vendor's library is opened. Each case is a process of its own,
// since what it sets stays.
#include "runtime/locate.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#if defined(__GLIBC__)
#include <malloc.h>
#endif
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <vector>

#include "base/log.hpp"
#include "runtime/rknn_runtime.hpp"
#include "support/missing_path.hpp"

namespace rknpu2 {
namespace {

constexpr const char* kVendors = STAND_INS "/no_version.so";

TEST(MallocMmap, TheSimulatorIsKnownByWhatItExports) {
    EXPECT_TRUE(is_simulator(SIMULATOR));
    EXPECT_FALSE(is_simulator(kVendors));
    EXPECT_FALSE(is_simulator("librknnrt.so"));
    EXPECT_FALSE(is_simulator(test::missing_path("librknnrt.so")));
    // The name lies across two pieces that are read.
    for (const size_t before : {size_t{0}, (size_t{1} << 16) - 5, (size_t{1} << 17) - 11, size_t{1} << 17}) {
        std::string path = ::testing::TempDir() + "rknpu2-name-XXXXXX";
        const int file = mkstemp(path.data());
        ASSERT_GE(file, 0);
        close(file);
        std::ofstream(path) << std::string(before, 'x') << "rknnsim_live";
        EXPECT_TRUE(is_simulator(path)) << before;
        std::ofstream(path) << std::string(before, 'x') << "rknnsim_liv";
        EXPECT_FALSE(is_simulator(path)) << before;
        unlink(path.c_str());
    }
}

#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) && \
    __GLIBC_PREREQ(2, 33)

// Mappings that 4 large blocks got, and the lines that were said: 10 * mappings + lines, after the library
// was opened in a child process.
int blocks_and_lines(const std::string& library, MallocMmap setting) {
    const pid_t child = fork();
    if (child == 0) {
        mallopt(M_MMAP_MAX, 65536);  // the default, whatever the environment of the test says
        mallopt(M_MMAP_THRESHOLD, 128 * 1024);
        int lines = 0;
        set_log_sink([&](LogLevel level, const std::string& line) {
            if (level == LogLevel::kInfo && line.find("GGML_RKNPU2_MALLOC_MMAP=keep") != std::string::npos)
                ++lines;
        });
        keep_malloc_from_mapping(is_simulator(library), setting);
        const bool opened = open_rknn_runtime(library).ok();
        const size_t before = mallinfo2().hblks;
        std::vector<void*> blocks;
        for (int i = 0; i < 4; ++i)
            blocks.push_back(std::malloc(size_t{48} << 20));
        const size_t mappings = mallinfo2().hblks - before;
        for (void* const block : blocks) {
            if (block == nullptr) _exit(99);
            std::free(block);
        }
        _exit(opened ? static_cast<int>(10 * mappings) + lines : 98);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(MallocMmap, LargeBlocksHaveNoMappingsBesideTheVendorsLibrary) {
    EXPECT_EQ(blocks_and_lines(kVendors, MallocMmap::kAuto), 1);
    EXPECT_EQ(blocks_and_lines(kVendors, MallocMmap::kKeep), 40);
    EXPECT_EQ(blocks_and_lines(kVendors, MallocMmap::kOff), 1);
}

TEST(MallocMmap, TheSimulatorLeavesThem) {
    EXPECT_EQ(blocks_and_lines(SIMULATOR, MallocMmap::kAuto), 40);
    EXPECT_EQ(blocks_and_lines(SIMULATOR, MallocMmap::kOff), 1);
}

#else

TEST(MallocMmap, LargeBlocksHaveNoMappingsBesideTheVendorsLibrary) {
    GTEST_SKIP() << "malloc is not glibc's (2.33 or later) here: another C library, or a sanitizer";
}

#endif

}  // namespace
}  // namespace rknpu2
