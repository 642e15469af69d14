// SPDX-License-Identifier: MIT
// Rates that cannot be measured for want of memory: one line, the model's, and nothing is kept.
#include <dlfcn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <filesystem>

#include "ggml/stored_matmul.hpp"

namespace {

std::atomic<size_t> the_most{SIZE_MAX};
std::atomic<int> refused{0};

}  // namespace

// ggml's buffers in the CPU's memory come from it.
extern "C" __attribute__((visibility("default"))) int posix_memalign(void** memory, size_t alignment,
                                                                     size_t bytes) noexcept {
    static const auto next =
        reinterpret_cast<decltype(&::posix_memalign)>(dlsym(RTLD_NEXT, "posix_memalign"));
    if (bytes <= the_most) return next(memory, alignment, bytes);
    ++refused;
    return ENOMEM;
}

namespace rknpu2::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// The copies are of 9 MiB, those of the small matrices of less than one.
void measure_without_memory() {
    const TemporaryFolder folder;
    setenv("RKNPU2_CACHE", folder.path("cache").c_str(), 1);
    setenv("GGML_RKNPU2_MATRICES", "auto", 1);
    setenv("GGML_RKNPU2_RATES", "measure", 1);
    const std::unique_ptr<GgmlHost> host = GgmlHost::open_with_device();
    ASSERT_TRUE(host);
    const BackendPtr backend = new_backend(*host);
    Random random;
    constexpr Shape kShape{1, 96, 512};
    StoredMatmul product(*host, GGML_TYPE_Q4_0, kShape);
    product.set_weight(random_weight(*host, GGML_TYPE_Q4_0, kShape.N, kShape.K, random));
    host->take_lines();
    the_most = size_t{4} << 20;
    EXPECT_LT(product.error(backend.get(), random), 0.05);
    the_most = SIZE_MAX;
    if (refused == 0) GTEST_SKIP() << "the host's CPU backend has no layout of its own for Q4_0";
    EXPECT_THAT(host->take_lines(),
                ElementsAre(HasSubstr(
                    "rates cannot be measured, so the model's are used: needs 9 MiB, which were refused")));
    EXPECT_LT(product.error(backend.get(), random), 0.05);
    EXPECT_THAT(host->take_lines(), IsEmpty()) << "it is tried once";
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder.path("")))
        EXPECT_NE(entry.path().extension(), ".rates");
}

TEST(MeasureRates, NoMemoryForACopy) {
    RKNPU2_NEEDS_HOST();
    run_alone(measure_without_memory);
}

}  // namespace
}  // namespace rknpu2::test
