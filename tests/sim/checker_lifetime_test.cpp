// SPDX-License-Identifier: MIT
// The checker: lifetimes, threads, what is said at exit, and how much is said.
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>

#include "sim/checker_fixture.hpp"

namespace rknnsim_test {
namespace {

using ::testing::Not;

TEST_F(CheckerTest, UseAfterDestroyAndDoubleDestroy) {
    rknn_matmul_ctx gone = 0;
    {
        Matmul matmul(kI8I32, kShape);
        gone = matmul.ctx();
        rknn_tensor_mem* mem = rknn_create_mem(matmul.ctx(), 4096);
        EXPECT_EQ(rknn_destroy_mem(matmul.ctx(), mem), 0);
        EXPECT_EQ(rknnsim_check_count(nullptr), 0U);
        EXPECT_EQ(to_device(matmul, mem), RKNN_ERR_PARAM_INVALID);
        EXPECT_EQ(rknnsim_check_count("use-after-destroy"), 1U);
        EXPECT_EQ(rknn_destroy_mem(matmul.ctx(), mem), RKNN_ERR_PARAM_INVALID);
        EXPECT_EQ(rknnsim_check_count("double-destroy"), 1U);
        // A bound memory that is destroyed before the run.
        rknn_tensor_mem* a = rknn_create_mem(matmul.ctx(), matmul.attr().A.size);
        data_of(a)[0] = data_of(matmul.b())[0] = std::byte{1};
        EXPECT_EQ(rknn_matmul_set_io_mem(matmul.ctx(), a, &matmul.attr().A), 0);
        EXPECT_EQ(matmul.bind_b() | matmul.bind_c(), 0);
        EXPECT_EQ(rknn_destroy_mem(matmul.ctx(), a), 0);
        EXPECT_EQ(matmul.run(), RKNN_ERR_INPUT_INVALID);
        EXPECT_EQ(rknnsim_check_count("use-after-destroy"), 2U);
    }
    EXPECT_EQ(rknn_matmul_run(gone), RKNN_ERR_CTX_INVALID);
    EXPECT_EQ(rknnsim_check_count("use-after-destroy"), 3U);
    EXPECT_EQ(rknn_matmul_destroy(gone), RKNN_ERR_CTX_INVALID);
    EXPECT_EQ(rknnsim_check_count("double-destroy"), 2U);
    EXPECT_EQ(rknn_matmul_run(12345), RKNN_ERR_CTX_INVALID);  // never was one
    EXPECT_EQ(rknnsim_check_count(nullptr), 5U);
}

TEST_F(CheckerTest, TwoThreads) {
    constexpr Shape kLong{1024, 2048, 1024};  // longer than a thread's turn on a busy CPU
    Matmul matmul(kI8I32, kLong);
    data_of(matmul.a())[0] = data_of(matmul.b())[0] = std::byte{1};
    EXPECT_EQ(matmul.bind_a() | matmul.bind_b() | matmul.bind_c(), 0);
    for (int attempt = 0; attempt < 200 && rknnsim_check_count("two-threads") == 0; ++attempt) {
        std::thread other([&] { matmul.run(); });
        matmul.run();
        other.join();
    }
    EXPECT_GT(rknnsim_check_count("two-threads"), 0U);
    const uint64_t before = rknnsim_check_count(nullptr);
    // The same context on two threads, one after the other, is fine.
    EXPECT_EQ(matmul.run(), 0);
    std::thread([&] { EXPECT_EQ(matmul.run(), 0); }).join();
    EXPECT_EQ(rknnsim_check_count(nullptr), before);
}

// Runs `body` in a child that ends as a program does; gives what it wrote to stderr.
template <typename Body>
std::string exit_output(Body&& body, int* status) {
    const std::string path = rknpu2::format("%srknnsim_exit_%d", ::testing::TempDir().c_str(), getpid());
    const pid_t child = fork();
    if (child == 0) {
        const int file = open(path.c_str(), O_CREAT | O_TRUNC | O_WRONLY, 0600);
        dup2(file, STDERR_FILENO);
        body();
        std::printf("buffered");
        exit(0);
    }
    waitpid(child, status, 0);
    std::string text(100000, '\0');
    const int file = open(path.c_str(), O_RDONLY);
    const ssize_t length = read(file, text.data(), text.size());
    close(file);
    unlink(path.c_str());
    text.resize(length > 0 ? static_cast<size_t>(length) : 0);
    return text;
}

TEST_F(CheckerTest, LeaksAreToldAtExit) {
    const auto leaky = [](bool context, bool memory, bool descriptor) {
        rknn_matmul_info info = info_of(kI8I32, kShape);
        rknn_matmul_io_attr attr{};
        rknn_matmul_ctx ctx = 0;
        rknn_matmul_create(&ctx, &info, &attr);
        rknn_tensor_mem* mem = rknn_create_mem(ctx, 5000);
        if (descriptor && dup(mem->fd) < 0) abort();
        if (!memory) rknn_destroy_mem(ctx, mem);
        if (!context) rknn_matmul_destroy(ctx);
    };
    for (const char* mode : {"warn", "strict", "off"}) {
        set("RKNNSIM_CHECK", mode);
        const bool strict = std::string(mode) == "strict";
        const bool on = std::string(mode) != "off";
        int status = 0;
        std::string text = exit_output([&] { leaky(true, true, true); }, &status);
        EXPECT_EQ(WEXITSTATUS(status), strict ? 86 : 0);
        const auto line = [&](const char* words) -> ::testing::Matcher<std::string> {
            if (on) return HasSubstr(words);
            return Not(HasSubstr(words));
        };
        EXPECT_THAT(text, testing::AllOf(line("[leak] 1 contexts are alive, the oldest is context 0x"),
                                         line("[leak] 1 memories with 8192 bytes are alive"),
                                         line("[leak] 1 descriptors of buffers are open")));
        text = exit_output([&] { leaky(false, false, true); }, &status);
        EXPECT_THAT(text, line("[leak] 1 descriptors"));
        EXPECT_THAT(text, Not(HasSubstr("memories")));
        text = exit_output([&] { leaky(false, false, false); }, &status);
        EXPECT_EQ(text, "");
        EXPECT_EQ(status, 0);
    }
}

TEST_F(CheckerTest, OffFindsNothing) {
    set("RKNNSIM_CHECK", "off");
    Matmul matmul(kI8I32, kShape);
    matmul.compute(first_);
    matmul.write_a(second_.a);
    EXPECT_EQ(stderr_of([&] { EXPECT_EQ(matmul.run(), 0); }), "");
    EXPECT_EQ(rknnsim_check_count(nullptr), 0U);
}

// A program that does the same thing wrong a million times is told so a few times.
TEST_F(CheckerTest, LinesAreLimited) {
    Matmul matmul(kI8I32, kShape);
    matmul.compute(first_);
    matmul.write_a(second_.a);
    const std::string output = stderr_of([&] {
        for (int i = 0; i < 50; ++i)
            EXPECT_EQ(matmul.run(), 0);
    });
    EXPECT_EQ(std::count(output.begin(), output.end(), '\n'), 20);
    EXPECT_THAT(output, HasSubstr("more of this rule are counted"));
    EXPECT_EQ(rknnsim_check_count("missing-sync"), 50U);
    EXPECT_EQ(rknnsim_check_count("no-such-rule"), 0U);
}

}  // namespace
}  // namespace rknnsim_test
