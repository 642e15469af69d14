// SPDX-License-Identifier: MIT
// The checker's rules about the CPU's cache, on boards that follow it: for each a program that breaks it, and
// one like it that does not.
#include "sim/checker_fixture.hpp"

namespace rknnsim_test {
namespace {

class CheckerCacheTest : public CheckerTest {
  protected:
    void SetUp() override {
        CheckerTest::SetUp();
        set("RKNNSIM_BOARD", "worst");
    }
    // Written, bound and, unless told otherwise, cleaned.
    int prepare(Matmul& matmul, bool clean_a = true, bool clean_b = true) const {
        matmul.write_a(first_.a);
        matmul.write_b(first_.b);
        int code = matmul.bind_a() | matmul.bind_b() | matmul.bind_c();
        if (clean_a) code |= to_device(matmul, matmul.a());
        if (clean_b) code |= to_device(matmul, matmul.b());
        return code;
    }
};

TEST_F(CheckerCacheTest, AnInputThatWasOnlyBound) {
    const auto program = [&](bool a, bool b) {
        Matmul matmul(kI8I32, kShape);
        EXPECT_EQ(prepare(matmul, a, b), 0);
        const int code = matmul.run();
        if (code == 0) {
            EXPECT_EQ(from_device(matmul, matmul.c()), 0);
        }
        return code;
    };
    expect_rule(
        "missing-sync", {"rknn_matmul_run", ": A was changed"}, [&] { return program(false, true); },
        [&] { return program(true, true); });
    expect_rule(
        "missing-sync", {": B was changed"}, [&] { return program(true, false); },
        [&] { return program(true, true); });
}

TEST_F(CheckerCacheTest, AnInputWithoutCache) {
    const auto program = [&](bool synced) {
        Matmul matmul(kI8I32, kShape);
        EXPECT_EQ(prepare(matmul), 0);
        rknn_tensor_mem* a =
            rknn_create_mem2(matmul.ctx(), matmul.attr().A.size, RKNN_FLAG_MEMORY_NON_CACHEABLE);
        std::memset(a->virt_addr, 3, matmul.attr().A.size);
        EXPECT_EQ(rknn_matmul_set_io_mem(matmul.ctx(), a, &matmul.attr().A), 0);
        if (synced) {
            EXPECT_EQ(to_device(matmul, a), 0);
        }
        const int code = matmul.run();
        if (code == 0) {
            EXPECT_EQ(from_device(matmul, matmul.c()), 0);
        }
        EXPECT_EQ(rknn_destroy_mem(matmul.ctx(), a), 0);
        return code;
    };
    expect_rule(
        "missing-sync", {": A was changed"}, [&] { return program(false); }, [&] { return program(true); });
}

TEST_F(CheckerCacheTest, ASyncOfAnImport) {
    const auto program = [&](bool of_import, bool from) {
        Matmul matmul(kI8I32, kShape);
        EXPECT_EQ(prepare(matmul), 0);
        rknn_tensor_mem* own = from ? matmul.c() : matmul.a();
        rknn_tensor_mem* import =
            rknn_create_mem_from_fd(matmul.ctx(), own->fd, own->virt_addr, own->size, 0);
        EXPECT_EQ(sync(matmul, import, from ? 2 : 1), 0);  // nothing was changed: nothing is lost
        if (from) {
            EXPECT_EQ(matmul.run(), 0);
        } else {
            matmul.write_a(second_.a);
        }
        const int code = sync(matmul, of_import ? import : own, from ? 2 : 1);
        if (of_import && from) {
            EXPECT_EQ(from_device(matmul, own), 0);
        }
        EXPECT_EQ(rknn_destroy_mem(matmul.ctx(), import), 0);
        return code;
    };
    expect_rule(
        "import-sync",
        {"rknn_mem_sync", "memory of 288 bytes", "RKNNSIM_IMPORT_SYNC", "the chip does not see"},
        [&] { return program(true, false); }, [&] { return program(false, false); });
    expect_rule(
        "import-sync", {"memory of 768 bytes", "the CPU does not see the result"},
        [&] { return program(true, true); }, [&] { return program(false, true); });
    set("RKNNSIM_IMPORT_SYNC", "works");
    EXPECT_EQ(program(true, false), 0);
    EXPECT_EQ(rknnsim_check_count(nullptr), 0U);
}

TEST_F(CheckerCacheTest, AResultAreaThatTheCpuHasWritten) {
    const auto program = [&](int how) {
        Matmul matmul(kI8I32, kShape);
        EXPECT_EQ(prepare(matmul), 0);
        data_of(matmul.c())[333] = std::byte{1};
        if (how == 1) {
            EXPECT_EQ(to_device(matmul, matmul.c()), 0);
        } else if (how == 2) {
            EXPECT_EQ(rknnsim_cache_lines(data_of(matmul.c()) + 333, 1, 1), 0);
        }
        const int code = matmul.run();
        if (code == 0) {
            EXPECT_EQ(from_device(matmul, matmul.c()), 0);
        }
        return code;
    };
    for (const int how : {1, 2}) {
        expect_rule(
            "dirty-result", {"rknn_matmul_run", "M=3 K=96 N=64", "has written 1 lines (of 64 bytes) of C"},
            [&] { return program(0); }, [&] { return program(how); });
    }
    set("RKNNSIM_DIRTY", "harmless");
    EXPECT_EQ(program(0), 0);
    EXPECT_EQ(rknnsim_check_count(nullptr), 0U);
}

// A hint, in both modes: overwritten by the next run, or destroyed.
TEST_F(CheckerCacheTest, AResultThatNobodyReads) {
    const auto program = [&](bool again, bool read) {
        Matmul matmul(kI8I32, kShape);
        int code = prepare(matmul) | matmul.run();
        if (read) code |= from_device(matmul, matmul.c());
        if (again) code |= matmul.run() | from_device(matmul, matmul.c());
        return code;
    };
    for (const bool again : {false, true}) {
        for (const char* mode : {"warn", "strict"}) {
            set("RKNNSIM_CHECK", mode);
            const std::string said = stderr_of([&] { EXPECT_EQ(program(again, false), 0); });
            EXPECT_EQ(rknnsim_check_count("unread-result"), 1U) << said;
            EXPECT_EQ(rknnsim_check_count(nullptr), 1U) << said;
            EXPECT_THAT(said, HasSubstr(again ? "is overwritten" : "rknn_destroy_mem"));
            ASSERT_EQ(rknnsim_reset(), 0);
            EXPECT_EQ(stderr_of([&] { EXPECT_EQ(program(again, true), 0); }), "");
        }
    }
    set("RKNNSIM_CHECK", "warn");
    set("RKNNSIM_RESULTS", "visible");  // then it may have been read without a sync
    EXPECT_EQ(program(true, false), 0);
    EXPECT_EQ(rknnsim_check_count(nullptr), 0U);
}

// What becomes a result area is cleaned once, though nobody has written it: no needless sync.
TEST_F(CheckerCacheTest, TheFirstCleaningOfAFreshResultArea) {
    for (const char* board : {"default", "worst"}) {
        set("RKNNSIM_BOARD", board);
        set("RKNNSIM_CHECK", "strict");
        const std::string said = stderr_of([&] {
            Matmul matmul(kI8I32, kShape);
            rknn_tensor_mem* other = rknn_create_mem(matmul.ctx(), 4096);
            EXPECT_EQ(to_device(matmul, other), 0);
            EXPECT_EQ(to_device(matmul, matmul.c()), 0);
            EXPECT_EQ(rknnsim_cache_lines(data_of(matmul.c()), matmul.c()->size, 1), 0);
            EXPECT_EQ(prepare(matmul) | matmul.run() | from_device(matmul, matmul.c()), 0);
            EXPECT_EQ(matmul.read_c(), product(first_, first_));
            EXPECT_EQ(rknn_destroy_mem(matmul.ctx(), other), 0);
        });
        EXPECT_EQ(said, "") << board;
    }
}

// The same sync twice is needless here, too, through the owner's handle.
TEST_F(CheckerCacheTest, NeedlessSync) {
    const auto program = [&](bool changed) {
        Matmul matmul(kI8I32, kShape);
        EXPECT_EQ(prepare(matmul), 0);
        matmul.write_a(second_.a);
        EXPECT_EQ(to_device(matmul, matmul.a()), 0);
        if (changed) matmul.write_a(first_.a);
        return to_device(matmul, matmul.a());
    };
    expect_rule(
        "needless-sync", {"memory of 288 bytes", "leave out"}, [&] { return program(false); },
        [&] { return program(true); });
}

}  // namespace
}  // namespace rknnsim_test
