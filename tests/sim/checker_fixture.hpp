// SPDX-License-Identifier: MIT
// What the tests of the checker share.
#pragma once

#include "base/format.hpp"
#include "sim/sim_fixture.hpp"

namespace rknnsim_test {

using ::testing::HasSubstr;

class CheckerTest : public TwoProductsTest {
  protected:
    void SetUp() override {
        TwoProductsTest::SetUp();
        on_default_board();
    }
    static int sync(const Matmul& matmul, rknn_tensor_mem* mem, int mode) {
        return rknn_mem_sync(matmul.ctx(), mem, mode);
    }
    static int to_device(const Matmul& matmul, rknn_tensor_mem* mem) {
        return sync(matmul, mem, RKNN_MEMORY_SYNC_TO_DEVICE);
    }
    static int from_device(const Matmul& matmul, rknn_tensor_mem* mem) {
        return sync(matmul, mem, RKNN_MEMORY_SYNC_FROM_DEVICE);
    }

    // `broken` breaks the rule once as a warning: its last call succeeds, and one line says so. In strict
    // mode it fails. `legal` breaks nothing in either mode.
    template <typename Broken, typename Legal>
    void expect_rule(const char* rule, const std::vector<const char*>& words, Broken&& broken,
                     Legal&& legal) {
        for (const char* mode : {"warn", "strict"}) {
            SCOPED_TRACE(mode);
            const bool strict = std::string(mode) == "strict";
            set("RKNNSIM_CHECK", mode);
            const std::string output = stderr_of([&] {
                if (strict) {
                    EXPECT_EQ(broken(), RKNN_ERR_FAIL);
                } else {
                    EXPECT_EQ(broken(), 0);
                }
            });
            EXPECT_EQ(rknnsim_check_count(rule), 1U) << output;
            EXPECT_EQ(rknnsim_check_count(nullptr), 1U) << output;
            EXPECT_THAT(output, HasSubstr(rknpu2::format("[%s] ", rule)));
            for (const char* word : words)
                EXPECT_THAT(output, HasSubstr(word));

            ASSERT_EQ(rknnsim_reset(), 0);
            EXPECT_EQ(stderr_of([&] { EXPECT_EQ(legal(), 0); }), "");
            EXPECT_EQ(rknnsim_check_count(nullptr), 0U);
        }
    }
};

}  // namespace rknnsim_test
