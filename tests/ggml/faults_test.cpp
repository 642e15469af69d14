// SPDX-License-Identifier: MIT
// What goes wrong gives one line of ours and a failure status, and what comes after works. Each test runs in
// a process of its own, since settings are read when the plug-in is loaded.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <cstdlib>
#include <fstream>

#include "ggml/faulty_products.hpp"
#include "support/missing_path.hpp"

namespace rknpu2::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr double kSmall = 0.03;

// Loads the plug-in with one setting and gives back what it said.
std::vector<std::string> lines_of_load(GgmlHost& host, const char* name, const std::string& value) {
    setenv(name, value.c_str(), 1);
    host.load_plugin();
    return host.take_lines();
}

void expect_right(const FaultyProduct& product) {
    EXPECT_THAT(product.lines, IsEmpty());
    EXPECT_LT(product.error, kSmall);
}

class FaultsTest : public ::testing::Test {
  protected:
    void SetUp() override { RKNPU2_NEEDS_HOST(); }

    // A runtime that cannot be opened: the plug-in is there, without a device, and one line says why.
    static void expect_no_device(const std::string& runtime, const std::string& why) {
        run_alone([&] {
            const auto host = GgmlHost::open(stock_files());
            ASSERT_TRUE(host);
            EXPECT_THAT(lines_of_load(*host, "GGML_RKNPU2_RUNTIME", runtime), ElementsAre(HasSubstr(why)));
            EXPECT_NE(host->plugin, nullptr);
            EXPECT_EQ(host->device, nullptr);
        });
    }
};

TEST_F(FaultsTest, RuntimeThatIsNotThere) {
    expect_no_device(missing_path(), "no NPU: GGML_RKNPU2_RUNTIME=" + missing_path() + ": no such file");
}

TEST_F(FaultsTest, RuntimeThatIsNoLibrary) {
    const TemporaryFolder folder;
    const std::string text = folder.path("text");
    std::ofstream(text) << "no library";
    expect_no_device(text, "no NPU: cannot load " + text);
}

TEST_F(FaultsTest, RuntimeThatIsAnotherLibrary) {
    expect_no_device(stock_files().base, "no function rknn_matmul_create_dynamic_shape");
}

TEST_F(FaultsTest, RuntimeWhoseDeviceDoesNotAnswer) {
    setenv("RKNNSIM_FAULTS", "fail:rknn_matmul_create_dynamic_shape:nth=1:code=-3", 1);
    expect_no_device(SIMULATOR, "the NPU does not answer");
    unsetenv("RKNNSIM_FAULTS");
}

TEST_F(FaultsTest, NumberOfCoresThatDoesNotExist) {
    run_alone([] {
        const auto host = GgmlHost::open(stock_files());
        ASSERT_TRUE(host);
        EXPECT_THAT(lines_of_load(*host, "GGML_RKNPU2_CORES", "9"),
                    ElementsAre("not loaded: GGML_RKNPU2_CORES=9: must be 1 to 3"));
        EXPECT_EQ(host->plugin, nullptr);
    });
}

TEST_F(FaultsTest, PrecisionThatDoesNotExist) {
    run_alone([] {
        const auto host = GgmlHost::open(stock_files());
        ASSERT_TRUE(host);
        EXPECT_THAT(lines_of_load(*host, "GGML_RKNPU2_PRECISION", "best"),
                    ElementsAre(HasSubstr("GGML_RKNPU2_PRECISION=best: must be balanced, fast, exact")));
        EXPECT_EQ(host->plugin, nullptr);
    });
}

TEST_F(FaultsTest, UnknownSettingIsWarnedAboutOnce) {
    run_alone([] {
        const auto host = GgmlHost::open(stock_files());
        ASSERT_TRUE(host);
        EXPECT_THAT(lines_of_load(*host, "GGML_RKNPU2_PRECISON", "exact"),
                    ElementsAre(HasSubstr("GGML_RKNPU2_PRECISON is not a setting")));
        EXPECT_NE(host->device, nullptr);
        host->load_plugin();
        EXPECT_THAT(host->take_lines(), IsEmpty());
    });
}

// What the doctor has found out about the board is done, and one line says so; a setting comes first.
TEST_F(FaultsTest, TheProfileOfTheBoardIsFollowed) {
    for (const std::string own : {"", "owner"}) {
        run_alone([&] {
            const TemporaryFolder folder;
            const std::string path = folder.path("mine.profile");
            std::ofstream(path) << "board = simulator\ncoherency = lines  # measured\ncolumns = 4096\n";
            const auto host = GgmlHost::open(stock_files());
            ASSERT_TRUE(host);
            setenv("GGML_RKNPU2_PROFILE", path.c_str(), 1);
            setenv("GGML_RKNPU2_COHERENCY", own.c_str(), 1);
            host->load_plugin();
            EXPECT_NE(host->device, nullptr);
            const std::string log = host->take_log();
            EXPECT_THAT(log, HasSubstr(own.empty() ? "by the strategy lines: board profile " + path
                                                   : "by the strategy owner: GGML_RKNPU2_COHERENCY"));
            EXPECT_THAT(log, HasSubstr("runs have up to 4096 columns, by the board profile"));
        });
    }
}

// Broken, it is one line with its place, and the plug-in goes on with what is right on every board.
TEST_F(FaultsTest, ABrokenProfileOfTheBoardIsOneLine) {
    run_alone([] {
        const TemporaryFolder folder;
        const std::string path = folder.path("mine.profile");
        std::ofstream(path) << "# of the doctor\ncoherency = sometimes\n";
        const auto host = GgmlHost::open(stock_files());
        ASSERT_TRUE(host);
        EXPECT_THAT(lines_of_load(*host, "GGML_RKNPU2_PROFILE", path),
                    ElementsAre("board profile: " + path +
                                ":2: coherency is \"sometimes\", but must be owner or lines"));
        EXPECT_NE(host->device, nullptr);
    });
}

// The directory for the counters cannot be written: the work goes on, and one line tells.
TEST_F(FaultsTest, CountersThatCannotBeWritten) {
    run_alone([] {
        const auto host = GgmlHost::open(stock_files());
        ASSERT_TRUE(host);
        EXPECT_THAT(lines_of_load(*host, "GGML_RKNPU2_STATS", missing_path("stats.json")), IsEmpty());
        Random random;
        {
            const BackendPtr backend = new_backend(*host);
            StoredMatmul product(*host, GGML_TYPE_F32, {3, 48, 96});
            product.set_weight(random_weight(*host, GGML_TYPE_F32, 48, 96, random));
            EXPECT_LT(product.error(backend.get(), random), kSmall);
        }
        EXPECT_THAT(host->take_lines(), ElementsAre(HasSubstr(missing_path("stats.json"))));
    });
}

// No memory for the floats between a weight's bytes and its packed form, after the device's memory was had.
TEST_F(FaultsTest, MemoryThatRunsOutWhilePacking) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    GTEST_SKIP() << "a sanitizer's allocator does not live with a limit of the address space";
#endif
    run_alone([] {
        const auto host = GgmlHost::open_with_device();
        ASSERT_TRUE(host);
        Random random;
        const BackendPtr backend = new_backend(*host);
        const Shape shape = {1, 32, size_t{1} << 20};  // 128 MiB for a thread's 32 rows of floats
        StoredMatmul product(*host, GGML_TYPE_F16, shape);
        product.set_weight(random_weight(*host, GGML_TYPE_F16, shape.N, shape.K, random));
        rlimit before{};
        ASSERT_EQ(getrlimit(RLIMIT_AS, &before), 0);
        rlimit tight = before;
        tight.rlim_cur = process_bytes("VmSize") + (size_t{110} << 20);
        const std::vector<float> a = random_floats(random, shape.K);
        std::vector<float> out;
        ASSERT_EQ(setrlimit(RLIMIT_AS, &tight), 0);
        const ggml_status status = product.compute(backend.get(), a, out);
        ASSERT_EQ(setrlimit(RLIMIT_AS, &before), 0);
        EXPECT_EQ(status, GGML_STATUS_ALLOC_FAILED);
        EXPECT_THAT(host->take_lines(), ElementsAre(HasSubstr("weight (f16): out of memory: packing")));
        EXPECT_EQ(simulator_counts().memories, 0U);
        EXPECT_LT(product.error(backend.get(), random), kSmall);
        EXPECT_THAT(host->take_lines(), IsEmpty());
    });
}

// Every kind of fault of the simulator: products fail with one line or are right, and nothing stays behind.
class KindsTest : public FaultsTest {
  protected:
    struct Seen {
        int failed = 0;
        int right = 0;
        std::vector<std::string> lines;
    };

    // `rounds` products with `faults` asked for.
    static Seen multiply(const std::string& faults, int rounds) {
        Seen seen;
        for (const FaultyProduct& product :
             multiply_under_faults(faults, "fail", GGML_TYPE_Q8_0, {3, 300, 192}, rounds)) {
            if (product.computed) {
                expect_right(product);
                ++seen.right;
                continue;
            }
            EXPECT_THAT(product.lines, SizeIs(1));
            seen.lines.insert(seen.lines.end(), product.lines.begin(), product.lines.end());
            ++seen.failed;
        }
        return seen;
    }
};

TEST_F(KindsTest, LostSubmit) {
    run_alone([] {
        const Seen seen = multiply("lost:nth=8", 6);
        EXPECT_EQ(seen.failed, 1);
        EXPECT_EQ(seen.right, 5);
        EXPECT_THAT(seen.lines,
                    ElementsAre(HasSubstr("rknn_matmul_run: the runtime answered -2 (timed out)")));
    });
}

// The core hangs until the context is destroyed, which is what the device does with one that has failed.
TEST_F(KindsTest, HungCore) {
    run_alone([] {
        const Seen seen = multiply("hang:core=1:nth=3", 6);
        EXPECT_EQ(seen.right, 5);
        EXPECT_THAT(seen.lines, ElementsAre(HasSubstr("(timed out)")));
    });
}

TEST_F(KindsTest, MemoryThatRunsOut) {
    run_alone([] {
        const Seen seen = multiply("memory:bytes=20000", 3);
        EXPECT_EQ(seen.failed, 3);
        EXPECT_THAT(seen.lines, ::testing::Each(HasSubstr("out of memory")));
    });
}

TEST_F(KindsTest, DelayedRuns) {
    run_alone([] {
        const Seen seen = multiply("delay:share=0.5:us=1000,seed:3", 6);
        EXPECT_EQ(seen.right, 6);
    });
}

TEST_F(KindsTest, RandomShareOfCalls) {
    run_alone([] {
        const Seen seen = multiply(
            "fail:rknn_matmul_run:share=0.05:code=-1,lost:share=0.05,fail:rknn_matmul_set_io_mem:share=0.05,"
            "seed:5",
            40);
        EXPECT_GT(seen.failed, 3);
        EXPECT_GT(seen.right, 3);
    });
}

// The n-th call of a runtime's function fails, for every n that three products reach: exactly one product
// fails, with one line that names the function, the next is right, and nothing stays behind.
class CallsTest : public FaultsTest, public ::testing::WithParamInterface<const char*> {
  protected:
    // True if the call was reached.
    static bool fail_call(const std::string& function, int call) {
        int failures = 0;
        // More rows than a run has, columns for every core.
        const auto products = multiply_under_faults("fail:" + function + ":nth=" + std::to_string(call),
                                                    "fail", GGML_TYPE_Q4_0, {260, 300, 64}, 3);
        for (const FaultyProduct& product : products) {
            if (product.computed) {
                expect_right(product);
                continue;
            }
            ++failures;
            EXPECT_THAT(product.lines, ElementsAre(::testing::AllOf(HasSubstr("MUL_MAT with weight (q4_0)"),
                                                                    HasSubstr(function + ":"))));
        }
        EXPECT_LE(failures, 1);
        return failures > 0;
    }
};

TEST_P(CallsTest, FailingCallFailsOneProductOnly) {
    const std::string function = GetParam();
    int reached = 0;
    // Opening the runtime makes the first context.
    const bool at_start =
        function == "rknn_matmul_create_dynamic_shape" || function == "rknn_matmul_set_core_mask";
    const int first = at_start ? 2 : 1;
    for (int call = first; call <= 24 && reached == call - first; ++call) {
        SCOPED_TRACE(function + ":" + std::to_string(call));
        const int status = run_in_child([&] { return fail_call(function, call) ? 1 : 0; });
        ASSERT_GE(status, 0) << "see the failures above";
        reached += status;
    }
    EXPECT_GT(reached, 0) << function << " is never called";
    RecordProperty("calls", reached);
}

INSTANTIATE_TEST_SUITE_P(Runtime, CallsTest,
                         ::testing::Values("rknn_matmul_create_dynamic_shape", "rknn_matmul_set_core_mask",
                                           "rknn_matmul_set_dynamic_shape", "rknn_matmul_set_io_mem",
                                           "rknn_matmul_run", "rknn_create_mem", "rknn_create_mem_from_fd",
                                           "rknn_mem_sync"),
                         [](const auto& tested) { return std::string(tested.param); });

}  // namespace
}  // namespace rknpu2::test
