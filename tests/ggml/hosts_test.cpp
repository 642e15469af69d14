// SPDX-License-Identifier: MIT
// Hosts that are not called libggml, two hosts in one process, and entry points called again.
#include <dlfcn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <thread>

#include "ggml/renamed_host.hpp"
#include "ggml/stored_matmul.hpp"

namespace rknpu2::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr double kSmall = 1e-3;  // what fp16 loses

// True if a library whose path contains `name` is loaded.
bool is_loaded(const std::string& name) {
    return !lines_with(run_program("cat /proc/" + std::to_string(getpid()) + "/maps").output, name).empty();
}

void expect_works(GgmlHost& host, ggml_backend_t backend, Random& random) {
    const Shape shape = {7, 96, 160};
    StoredMatmul product(host, GGML_TYPE_Q4_0, shape);
    product.set_weight(random_weight(host, GGML_TYPE_Q4_0, shape.N, shape.K, random));
    ASSERT_TRUE(product.supported());
    const uint64_t runs = simulator_counts().runs;
    EXPECT_LT(product.error(backend, random), kSmall);
    EXPECT_GT(simulator_counts().runs, runs);
}

class HostsTest : public ::testing::Test {
  protected:
    void SetUp() override {
        RKNPU2_NEEDS_HOST();
        setenv("GGML_RKNPU2_PRECISION", "exact", 1);
    }

    std::unique_ptr<GgmlHost> open_renamed(const std::string& name, const HostFiles& files = stock_files()) {
        auto host = GgmlHost::open(renamed_files(folder_, name, files), files.base != stock_files().base);
        if (!host) return nullptr;
        host->load_plugin();
        EXPECT_THAT(host->take_lines(), IsEmpty());
        EXPECT_NE(host->device, nullptr);
        return host->device != nullptr ? std::move(host) : nullptr;
    }

    TemporaryFolder folder_;
    Random random_;
};

// The line is said once, before the vendor's library is opened, and only then.
TEST_F(HostsTest, LargeBlocksAreKeptFromTheVendorsLibrary) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    GTEST_SKIP() << "a sanitizer has another malloc, which has no such choice";
#endif
    for (const auto& [setting, lines] : {std::pair{"auto", 1U}, {"keep", 0U}}) {
        run_alone([setting = setting, lines = lines] {
            setenv("GGML_RKNPU2_RUNTIME", VENDORS, 1);
            setenv("GGML_RKNPU2_MALLOC_MMAP", setting, 1);
            const auto host = GgmlHost::open(stock_files());
            ASSERT_TRUE(host);
            host->load_plugin();
            ASSERT_NE(host->device, nullptr);
            EXPECT_EQ(lines_with(host->take_log(), "large blocks of memory come from the heap").size(),
                      lines);
        });
    }
}

// The library refuses its first three contexts, as after a process that was killed.
TEST_F(HostsTest, AnNpuThatIsFreeLater) {
    for (const auto& [seconds, found] : {std::pair{"1", true}, {"0", false}}) {
        run_alone([seconds = seconds, found = found] {
            setenv("GGML_RKNPU2_RUNTIME", LATE, 1);
            setenv("GGML_RKNPU2_START_WAIT", seconds, 1);
            const auto host = GgmlHost::open(stock_files());
            ASSERT_TRUE(host);
            host->load_plugin();
            EXPECT_EQ(host->device != nullptr, found);
            const std::string log = host->take_log();
            EXPECT_EQ(lines_with(log, "the NPU is not free: out of memory").size(), found ? 1U : 0U);
            EXPECT_EQ(lines_with(log, "no NPU: ").size(), found ? 0U : 1U);
        });
    }
}

TEST_F(HostsTest, HostOfAnotherName) {
    run_alone([this] {
        const auto host = open_renamed("libqqml");
        ASSERT_TRUE(host);
        EXPECT_FALSE(is_loaded("libggml-base")) << "a stock ggml came in by another way";
        EXPECT_TRUE(is_loaded("libqqml-base"));
        EXPECT_STREQ(host->ggml.ggml_backend_dev_name(host->device), "RKNPU0");
        EXPECT_EQ(host->ggml.ggml_backend_dev_type(host->device), GGML_BACKEND_DEVICE_TYPE_GPU);
        const BackendPtr backend = new_backend(*host);
        expect_works(*host, backend.get(), random_);
    });
}

// Tools load a backend more than once: the same registry each time, one device, and nothing said.
TEST_F(HostsTest, LoadedThreeTimes) {
    run_alone([this] {
        const auto host = open_renamed("libqqml");
        ASSERT_TRUE(host);
        const ggml_backend_reg_t first = host->plugin;
        const ggml_backend_dev_t device = host->device;
        for (int round = 0; round < 2; ++round) {
            host->load_plugin();
            EXPECT_EQ(host->plugin, first);
            EXPECT_EQ(host->device, device);
        }
        EXPECT_THAT(host->take_lines(), IsEmpty());
        const BackendPtr backend = new_backend(*host);
        expect_works(*host, backend.get(), random_);
    });
}

TEST_F(HostsTest, TwoHostsInOneProcess) {
    run_alone([this] {
        auto one = open_renamed("libqqml");
        const auto two = open_renamed("libzzml");
        ASSERT_TRUE(one && two);
        EXPECT_NE(one->plugin, two->plugin);
        EXPECT_NE(one->device, two->device);
        EXPECT_EQ(one->ggml.ggml_backend_dev_by_name("RKNPU0"), one->device);
        EXPECT_EQ(two->ggml.ggml_backend_dev_by_name("RKNPU0"), two->device);
        EXPECT_FALSE(two->ggml.ggml_backend_dev_supports_buft(
            two->device, one->ggml.ggml_backend_dev_buffer_type(one->device)));
        const BackendPtr backend_two = new_backend(*two);
        {
            const BackendPtr backend_one = new_backend(*one);
            expect_works(*one, backend_one.get(), random_);
            expect_works(*two, backend_two.get(), random_);
        }
        one->ggml.ggml_backend_unload(one->plugin);
        expect_works(*two, backend_two.get(), random_);
        // The first comes back, as the same device.
        const ggml_backend_dev_t before = one->device;
        one->load_plugin();
        ASSERT_EQ(one->device, before);
        const BackendPtr again = new_backend(*one);
        expect_works(*one, again.get(), random_);
        EXPECT_THAT(one->take_lines(), IsEmpty());
        EXPECT_THAT(two->take_lines(), IsEmpty());
    });
}

// Each is used in its own layout, whichever came first, and from two threads.
TEST_F(HostsTest, TwoLayoutsInOneProcess) {
    const HostFiles older = prebuilt_files("3.16.2");
    const HostFiles newer = prebuilt_files("3.22.1");
    if (older.registry.empty() || newer.registry.empty())
        GTEST_SKIP() << "scripts/prebuilt_hosts.py 3.16.2 3.22.1 has not fetched two hosts";
    for (const bool older_first : {true, false}) {
        run_alone([&, older_first] {
            const auto one = open_renamed("libqqml", older_first ? older : newer);
            const auto two = open_renamed("libzzml", older_first ? newer : older);
            ASSERT_TRUE(one && two);
            EXPECT_STREQ((older_first ? one : two)->ggml.ggml_version(), "0.9.7");
            EXPECT_STREQ((older_first ? two : one)->ggml.ggml_version(), "0.25.1");
            const auto work = [](GgmlHost& host) {
                Random random;
                const BackendPtr backend = new_backend(host);
                for (int round = 0; round < 5; ++round)
                    expect_works(host, backend.get(), random);
            };
            std::thread other([&] { work(*two); });
            work(*one);
            other.join();
            EXPECT_THAT(one->take_lines(), IsEmpty());
            EXPECT_THAT(two->take_lines(), IsEmpty());
        });
    }
}

// Beside another host, one of the other layout whose libraries are in a namespace of their own, the plug-in among them.
TEST_F(HostsTest, ALayoutInItsOwnNamespace) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    GTEST_SKIP() << "a sanitizer's library cannot be loaded twice";
#endif
    const HostFiles older = prebuilt_files("3.16.2");
    if (older.registry.empty()) GTEST_SKIP() << "scripts/prebuilt_hosts.py 3.16.2 has not fetched the host";
    run_alone([&] {
        const auto one = GgmlHost::open_with_device();
        ASSERT_TRUE(one);
        Lmid_t space = LM_ID_NEWLM;
        void* const base = dlmopen(space, older.base.c_str(), RTLD_NOW | RTLD_LOCAL);
        ASSERT_TRUE(base != nullptr && dlinfo(base, RTLD_DI_LMID, &space) == 0) << dlerror();
        void* const registry = dlmopen(space, older.registry.c_str(), RTLD_NOW | RTLD_LOCAL);
        ASSERT_NE(registry, nullptr) << dlerror();
        const auto load =
            reinterpret_cast<decltype(&::ggml_backend_load)>(dlsym(registry, "ggml_backend_load"));
        const auto count = reinterpret_cast<decltype(&::ggml_backend_reg_dev_count)>(
            dlsym(registry, "ggml_backend_reg_dev_count"));
        ASSERT_TRUE(load != nullptr && count != nullptr);
        const ggml_backend_reg_t reg = load(PLUGIN);
        ASSERT_NE(reg, nullptr);
        EXPECT_NE(reg, one->plugin);
        EXPECT_EQ(count(reg), 1U);
        expect_works(*one, new_backend(*one).get(), random_);
    });
}

// There is one device, so there is one set of settings; who changed some is told which.
TEST_F(HostsTest, ASecondHostHasTheSettingsOfTheFirst) {
    run_alone([this] {
        setenv("GGML_RKNPU2_CORES", "2", 1);
        const auto one = open_renamed("libqqml");
        setenv("GGML_RKNPU2_CORES", "1", 1);
        setenv("GGML_RKNPU2_PRECISION", "reference", 1);
        const auto two = GgmlHost::open(renamed_files(folder_, "libzzml"));
        ASSERT_TRUE(one && two);
        two->load_plugin();
        EXPECT_THAT(one->take_lines(), IsEmpty());
        EXPECT_THAT(
            two->take_lines(),
            ElementsAre("GGML_RKNPU2_PRECISION, GGML_RKNPU2_CORES: changed after this process had opened "
                        "the NPU for another ggml; both use what was set then"));
        // exact on the NPU, not reference on the CPU.
        const BackendPtr backend = new_backend(*two);
        expect_works(*two, backend.get(), random_);
    });
}

// Two hosts share the NPU, from two threads at once.
TEST_F(HostsTest, TwoHostsOnTwoThreads) {
    run_alone([this] {
        const auto one = open_renamed("libqqml");
        const auto two = open_renamed("libzzml");
        ASSERT_TRUE(one && two);
        const auto work = [](GgmlHost& host) {
            Random random;
            const BackendPtr backend = new_backend(host);
            for (int round = 0; round < 20; ++round) {
                StoredMatmul product(host, GGML_TYPE_Q8_0, {5, 64, 96});
                product.set_weight(random_weight(host, GGML_TYPE_Q8_0, 64, 96, random));
                EXPECT_LT(product.error(backend.get(), random), kSmall);
            }
        };
        std::thread other([&] { work(*two); });
        work(*one);
        other.join();
        EXPECT_EQ(simulator_counts().memories, 0U);
        EXPECT_EQ(simulator_counts().contexts, 0U);
    });
}

// Each host is told what concerns it.
TEST_F(HostsTest, LogGoesToTheHostThatAsked) {
    run_alone([this] {
        const auto one = open_renamed("libqqml");
        const auto two = open_renamed("libzzml");
        ASSERT_TRUE(one && two);
        const BackendPtr backend = new_backend(*two);
        StoredMatmul product(*two, GGML_TYPE_F32, {3, 48, 64});
        product.set_weight(random_weight(*two, GGML_TYPE_F32, 48, 64, random_));
        EXPECT_LT(product.error(backend.get(), random_), kSmall);
        EXPECT_THAT(two->take_lines(GGML_LOG_LEVEL_DEBUG), ::testing::Contains(HasSubstr("packed weight")));
        EXPECT_THAT(one->take_lines(GGML_LOG_LEVEL_DEBUG),
                    ::testing::Each(::testing::Not(HasSubstr("packed"))));
    });
}

// A caller that is no ggml (this program) is refused in one line.
TEST_F(HostsTest, CallerThatIsNoGgml) {
    run_alone([] {
        void* const library = dlopen(PLUGIN, RTLD_NOW | RTLD_LOCAL);
        ASSERT_NE(library, nullptr) << dlerror();
        using Init = ggml_backend_reg_t (*)();
        const auto init = reinterpret_cast<Init>(dlsym(library, "ggml_backend_init"));
        ASSERT_NE(init, nullptr);
        ::testing::internal::CaptureStderr();
        EXPECT_EQ(init(), nullptr);
        const std::string said = ::testing::internal::GetCapturedStderr();
        EXPECT_THAT(said, HasSubstr("ggml-rknpu2: not loaded: the host's ggml (the program itself)"));
        EXPECT_EQ(lines_with(said, "").size(), 1U) << said;
    });
}

}  // namespace
}  // namespace rknpu2::test
