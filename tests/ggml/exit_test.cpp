// SPDX-License-Identifier: MIT
// A program that ends while the NPU is at work, as llama-cli does at the second Ctrl-C: exit() in a signal's
// handler. It must end with its own status, at once, whichever thread the handler runs on. On the computing
// thread the signal comes where the plug-in asks the host whether to stop: in the middle of malloc, say, no
// program survives exit().
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <climits>
#include <csignal>
#include <cstdlib>
#include <thread>

#include "ggml/layer_graph.hpp"

// In programs with AddressSanitizer (cmake/sanitizer_options.c).
extern "C" __attribute__((weak, visibility("default"))) int rknpu2_no_leak_check;

namespace rknpu2::test {
namespace {

constexpr int kStatus = 130;

enum class Handles { kComputingThread, kOtherThread };

struct Program {
    Handles handles = Handles::kOtherThread;
    int64_t tokens = 2;
    unsigned delay_us = 0;      // until the signal comes to another thread
    int question = 0;           // at which it comes to the computing one
    bool in_the_first = false;  // graph of the process, which packs
    std::string statistics;     // a file
};

// Never returns.
[[noreturn]] void compute_until_interrupted(const Program& program) {
    alarm(60);  // a program that hangs is ended by a signal
    if (&rknpu2_no_leak_check != nullptr) rknpu2_no_leak_check = 1;
    // What is alive at such an end is no leak to complain of.
    setenv("RKNNSIM_CHECK", "off", 1);
    setenv("GGML_RKNPU2_STATS", program.statistics.c_str(), 1);
    const auto host = GgmlHost::open_with_device();
    if (!host) _exit(1);
    const BackendPtr backend = new_backend(*host);
    LayerOptions options;
    options.tokens = program.tokens;
    LayerGraph graph(*host, options, 3);
    if (!program.in_the_first) graph.compute(backend.get(), false);
    std::signal(SIGINT, [](int) { std::exit(kStatus); });
    const auto set = reinterpret_cast<ggml_backend_set_abort_callback_t>(
        host->ggml.ggml_backend_reg_get_proc_address(host->plugin, "ggml_backend_set_abort_callback"));
    int left = program.handles == Handles::kComputingThread ? program.question : INT_MAX;
    set(
        backend.get(),
        [](void* questions) {
            if (--*static_cast<int*>(questions) == 0) std::raise(SIGINT);
            return false;
        },
        &left);
    std::thread computing([&] {
        do {
            graph.fill();
        } while (host->ggml.ggml_backend_graph_compute(backend.get(), graph.graph()) == GGML_STATUS_SUCCESS);
        for (;;)
            pause();  // the process ends
    });
    if (program.handles == Handles::kOtherThread) {
        usleep(program.delay_us);
        std::raise(SIGINT);
    }
    for (;;)
        pause();
}

void expect_its_own_status(const Program& program) {
    const pid_t child = fork();
    if (child == 0) compute_until_interrupted(program);
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status)) << "ended by signal " << WTERMSIG(status) << " after " << program.delay_us
                                   << " us or question " << program.question << " with " << program.tokens
                                   << " tokens" << (program.in_the_first ? " in the first graph" : "");
    EXPECT_EQ(WEXITSTATUS(status), kStatus);
}

class ExitTest : public ::testing::TestWithParam<Handles> {
  protected:
    void SetUp() override { RKNPU2_NEEDS_HOST(); }
};

TEST_P(ExitTest, WhileAGraphIsComputed) {
    const TemporaryFolder folder;
    Random random;
    Program program;
    program.handles = GetParam();
    for (int round = 0; round < 36 && !HasFailure(); ++round) {
        program.tokens = round % 2 == 0 ? 2 : 160;  // 160 flow
        program.delay_us = static_cast<unsigned>(random.size(0, 6000));
        program.question = static_cast<int>(random.size(1, 60));
        // With AddressSanitizer, which finds more, this is still to be tried.
        program.in_the_first = round % 3 == 0 && &rknpu2_no_leak_check == nullptr;
        program.statistics = folder.path("statistics");
        expect_its_own_status(program);
    }
}

INSTANTIATE_TEST_SUITE_P(Threads, ExitTest,
                         ::testing::Values(Handles::kComputingThread, Handles::kOtherThread),
                         [](const auto& test) {
                             return test.param == Handles::kComputingThread ? "TheComputingOne"
                                                                            : "AnotherOne";
                         });

}  // namespace
}  // namespace rknpu2::test
