// SPDX-License-Identifier: MIT
// What it costs in virtual time to clean and invalidate the CPU's cache.
#include "sim/timing_fixture.hpp"

namespace rknnsim_test {
namespace {

// A sync costs its call and its bytes, both ways twice of these; lines cost by their number.
TEST_F(TimingTest, SyncsCostByBytesAndLines) {
    on_default_board();
    ASSERT_EQ(rknnsim_profile_set("sync_us", 2) | rknnsim_profile_set("sync_gbps", 4) |
                  rknnsim_profile_set("line_ns", 10),
              0);
    Matmul matmul(kI8I32, {1, 64, 64});
    rknn_tensor_mem* mem = rknn_create_mem(matmul.ctx(), 40000);
    rknn_tensor_mem* slice = rknn_create_mem_from_fd(matmul.ctx(), mem->fd, mem->virt_addr, 4000, 64);
    const auto cost = [&](auto&& body) {
        const uint64_t before = rknnsim_time_now();
        EXPECT_EQ(body(), 0);
        return rknnsim_time_now() - before;
    };
    EXPECT_EQ(cost([&] { return rknn_mem_sync(matmul.ctx(), mem, 1); }), 12000U);
    EXPECT_EQ(cost([&] { return rknn_mem_sync(matmul.ctx(), mem, 2); }), 12000U);
    EXPECT_EQ(cost([&] { return rknn_mem_sync(matmul.ctx(), mem, 3); }), 22000U);
    EXPECT_EQ(cost([&] { return rknn_mem_sync(matmul.ctx(), slice, 1); }), 3000U);
    auto* data = static_cast<std::byte*>(mem->virt_addr);
    EXPECT_EQ(cost([&] { return rknnsim_cache_lines(data, 640, 1); }), 100U);
    EXPECT_EQ(cost([&] { return rknnsim_cache_lines(data + 63, 2, 2); }), 20U);
    EXPECT_EQ(rknn_destroy_mem(matmul.ctx(), slice) | rknn_destroy_mem(matmul.ctx(), mem), 0);
}

// What does nothing costs the call.
TEST_F(TimingTest, ASyncThatDoesNothingCostsTheCall) {
    set("RKNNSIM_IMPORT_SYNC", "nothing");
    ASSERT_EQ(rknnsim_profile_set("sync_us", 2) | rknnsim_profile_set("sync_gbps", 4), 0);
    Matmul matmul(kI8I32, {1, 64, 64});
    rknn_tensor_mem* mem = rknn_create_mem(matmul.ctx(), 40000);
    rknn_tensor_mem* slice = rknn_create_mem_from_fd(matmul.ctx(), mem->fd, mem->virt_addr, 40000, 0);
    EXPECT_EQ(rknn_mem_sync(matmul.ctx(), slice, 1), 0);
    EXPECT_EQ(rknnsim_time_now(), 2000U);
    EXPECT_EQ(rknn_destroy_mem(matmul.ctx(), slice) | rknn_destroy_mem(matmul.ctx(), mem), 0);
}

}  // namespace
}  // namespace rknnsim_test
