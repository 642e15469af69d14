// SPDX-License-Identifier: MIT
// What the tests of virtual time share.
#pragma once

#include <functional>
#include <thread>

#include "api/rknnsim_time.h"
#include "sim/sim_fixture.hpp"

namespace rknnsim_test {

class TimingTest : public SimTest {
  protected:
    static rknnsim_run_time predict(int type, Shape shape, int cores = 1, int ac_layout = 1) {
        const rknnsim_matmul matmul{type, shape.M, shape.K, shape.N, 1, ac_layout, cores, 0};
        rknnsim_run_time time{};
        EXPECT_EQ(rknnsim_predict(&matmul, &time), 0);
        return time;
    }
    static rknnsim_run_time last_run() {
        rknnsim_run_time time{};
        EXPECT_EQ(rknnsim_last_run(&time), 0);
        return time;
    }
    static rknnsim_time_sums totals() {
        rknnsim_time_sums sums{};
        EXPECT_EQ(rknnsim_time_totals(&sums), 0);
        return sums;
    }
    static void bind(Matmul& matmul) {
        ASSERT_EQ(matmul.bind_a(), 0);
        ASSERT_EQ(matmul.bind_b(), 0);
        ASSERT_EQ(matmul.bind_c(), 0);
    }
    static void on_thread(const std::function<void()>& body) { std::thread(body).join(); }
};

}  // namespace rknnsim_test
