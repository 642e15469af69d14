// SPDX-License-Identifier: MIT
// What the plug-in leaves of a host's process as it was, and what it does with one that is short of threads
// or was forked.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <climits>
#include <cstdlib>
#include <filesystem>
#include <set>
#include <thread>

#include "ggml/layer_graph.hpp"
#include "support/failing_threads.hpp"

// In programs with AddressSanitizer (cmake/sanitizer_options.c).
extern "C" __attribute__((weak, visibility("default"))) int rknpu2_no_leak_check;

namespace rknpu2::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

void set_threads(GgmlHost& host, ggml_backend_t backend, int threads) {
    const auto set = reinterpret_cast<ggml_backend_set_n_threads_t>(
        host.ggml.ggml_backend_reg_get_proc_address(host.plugin, "ggml_backend_set_n_threads"));
    ASSERT_NE(set, nullptr);
    set(backend, threads);
}

std::vector<int> cpus_of_this_thread() {
    cpu_set_t set;
    CPU_ZERO(&set);
    EXPECT_EQ(sched_getaffinity(0, sizeof set, &set), 0);
    std::vector<int> cpus;
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
        if (CPU_ISSET(static_cast<size_t>(cpu), &set)) cpus.push_back(cpu);
    return cpus;
}

std::set<pid_t> threads_here() {
    std::set<pid_t> threads;
    for (const auto& task : std::filesystem::directory_iterator("/proc/self/task"))
        threads.insert(std::stoi(task.path().filename().string()));
    return threads;
}

// How many threads but those may run on one CPU only.
size_t pinned_threads_besides(const std::set<pid_t>& those) {
    size_t count = 0;
    for (const pid_t thread : threads_here()) {
        cpu_set_t set;
        CPU_ZERO(&set);
        if (those.count(thread) == 0 && sched_getaffinity(thread, sizeof set, &set) == 0)
            count += CPU_COUNT(&set) == 1 ? 1 : 0;
    }
    return count;
}

class ProcessesTest : public ::testing::Test {
  protected:
    void SetUp() override { RKNPU2_NEEDS_HOST(); }
};

TEST_F(ProcessesTest, TheHostsThreadKeepsItsCpus) {
    const std::vector<int> before = cpus_of_this_thread();
    if (before.size() < 2) GTEST_SKIP() << "there is one CPU only, so nothing could be lost";
    for (const int64_t tokens : {1, 40, 120, 200}) {
        run_alone([&] {
            setenv("GGML_RKNPU2_AFFINITY", std::to_string(before.back()).c_str(), 1);
            setenv("GGML_RKNPU2_THREADS", "2", 1);
            const auto host = GgmlHost::open_with_device();
            ASSERT_TRUE(host);
            const std::set<pid_t> at_first = threads_here();
            LayerOptions options;
            options.tokens = tokens;
            LayerGraph graph(*host, options, 1);
            {
                const BackendPtr backend = new_backend(*host);
                for (const int threads : {2, 1, 3}) {
                    set_threads(*host, backend.get(), threads);
                    graph.compute(backend.get(), false);
                    EXPECT_EQ(cpus_of_this_thread(), before) << threads << " threads";
                }
                if (tokens > 1) {
                    EXPECT_GE(pinned_threads_besides(at_first), 1U) << "nothing is pinned at all";
                }
            }
            EXPECT_EQ(cpus_of_this_thread(), before) << "after the backend was freed";
            // Those of OpenMP are the host's. The lane of prompts has a thread for each core.
            EXPECT_EQ(pinned_threads_besides(at_first), tokens >= 128 ? 3U : 0U);
            std::vector<int> of_a_new_thread;
            std::thread([&] { of_a_new_thread = cpus_of_this_thread(); }).join();
            EXPECT_EQ(of_a_new_thread, before);
        });
    }
}

// They would wait for each other: llama.cpp asks for eight on an RK3588, of which four CPUs are fast.
TEST_F(ProcessesTest, NoMoreThreadsComputeThanThereAreCpusForThem) {
    for (const bool by_the_users_word : {false, true}) {
        run_alone([&] {
            setenv("GGML_RKNPU2_AFFINITY", std::to_string(cpus_of_this_thread().back()).c_str(), 1);
            if (by_the_users_word) setenv("GGML_RKNPU2_THREADS", "4", 1);
            const auto host = GgmlHost::open_with_device();
            ASSERT_TRUE(host);
            LayerOptions options;
            options.tokens = 40;
            LayerGraph graph(*host, options, 1);
            const BackendPtr backend = new_backend(*host);
            std::vector<size_t> threads;
            for (const int asked : {1, 4}) {
                set_threads(*host, backend.get(), asked);
                graph.compute(backend.get(), false);
                threads.push_back(threads_here().size());
            }
            EXPECT_EQ(threads[0] < threads[1], by_the_users_word);
        });
    }
}

// Threads of the device's team, for the CPU, and of the lane of flows, as far as there are any.
TEST_F(ProcessesTest, WithoutThreadsResultsAreTheSame) {
    for (int most = 0; most <= 8; ++most) {
        SCOPED_TRACE(::testing::Message() << most << " threads");
        run_alone([&] {
            setenv("GGML_RKNPU2_THREADS", "3", 1);
            limit_threads(most);
            const auto host = GgmlHost::open_with_device();
            ASSERT_TRUE(host);
            LayerOptions options;
            options.tokens = 200;
            LayerGraph graph(*host, options, 1);
            std::vector<std::vector<uint8_t>> flowed;
            {
                const BackendPtr backend = new_backend(*host);
                set_threads(*host, backend.get(), 4);
                flowed = graph.compute(backend.get(), false);
            }
            // Two of the team, three for the CPU, three of the lane.
            EXPECT_EQ(failed_threads() > 0, most < 8);
            EXPECT_EQ(host->take_lines().size(), most < 8 ? 1U : 0U);
            limit_threads(-1);
            const BackendPtr backend = new_backend(*host);
            set_threads(*host, backend.get(), 4);
            EXPECT_EQ(graph.compute(backend.get(), true), flowed);
        });
    }
}

// One that cannot be had, and others that can. (What OpenMP asks for itself ends the process, hence one
// thread for the CPU.)
TEST_F(ProcessesTest, AThreadThatCannotBeHadOnceIsDoneWithout) {
    for (int first = 1; first <= 6; ++first) {
        SCOPED_TRACE(::testing::Message() << "thread " << first);
        run_alone([&] {
            setenv("GGML_RKNPU2_THREADS", "3", 1);
            fail_threads(first, 1);
            const auto host = GgmlHost::open_with_device();
            ASSERT_TRUE(host);
            LayerOptions options;
            options.tokens = 200;
            LayerGraph graph(*host, options, 1);
            const BackendPtr backend = new_backend(*host);
            set_threads(*host, backend.get(), 1);
            const auto flowed = graph.compute(backend.get(), false);
            // Two of the team and three of the lane.
            EXPECT_EQ(failed_threads(), first <= 5 ? 1 : 0) << thread_calls();
            EXPECT_EQ(host->take_lines().size(), first <= 5 ? 1U : 0U);
            EXPECT_EQ(graph.compute(backend.get(), true), flowed);
        });
    }
}

// How a child ended that must not take long: its status, or -1 with a failure when it had to be killed.
int status_of(pid_t child) {
    for (int tenths = 0; tenths < 600; ++tenths) {
        int status = 0;
        if (waitpid(child, &status, WNOHANG) == child) {
            EXPECT_TRUE(WIFEXITED(status)) << "ended by signal " << WTERMSIG(status);
            return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
        }
        usleep(100'000);
    }
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    ADD_FAILURE() << "the child hangs";
    return -1;
}

// In a child that was forked after the first use. It ends as programs do, by exit().
[[noreturn]] void be_a_forked_child(GgmlHost& host, BackendPtr& used, LayerGraph& prompt, LayerGraph& token) {
    host.take_lines();
    const HostFunctions& ggml = host.ggml;
    prompt.fill();
    token.fill();
    for (LayerGraph* const graph : {&prompt, &token, &prompt})
        EXPECT_EQ(ggml.ggml_backend_graph_compute(used.get(), graph->graph()), GGML_STATUS_FAILED);
    EXPECT_EQ(ggml.ggml_backend_dev_init(host.device, nullptr), nullptr);
    used.reset();
    EXPECT_THAT(host.take_lines(),
                ElementsAre(StartsWith("nothing is computed here: process " + std::to_string(getppid()) +
                                       " has the NPU, and this one was forked from it")));
    if (&rknpu2_no_leak_check != nullptr) rknpu2_no_leak_check = 1;
    std::exit(::testing::Test::HasFailure() ? 1 : 0);
}

TEST_F(ProcessesTest, AForkedChildFailsAndTheParentGoesOn) {
    const TemporaryFolder folder;
    const std::string stats = folder.path("stats-%p.json");
    run_alone([&] {
        setenv("GGML_RKNPU2_STATS", stats.c_str(), 1);
        setenv("GGML_RKNPU2_LOCK", folder.path("lock").c_str(), 1);
        const auto host = GgmlHost::open_with_device();
        ASSERT_TRUE(host);
        LayerOptions options;
        options.tokens = 200;
        LayerGraph prompt(*host, options, 1);
        options.tokens = 1;
        LayerGraph token(*host, options, 1);
        BackendPtr backend = new_backend(*host);
        set_threads(*host, backend.get(), 3);
        const auto expected = prompt.compute(backend.get(), false);
        const auto expected_token = token.compute(backend.get(), false);
        std::fflush(nullptr);
        const pid_t child = fork();
        if (child == 0) be_a_forked_child(*host, backend, prompt, token);
        EXPECT_EQ(status_of(child), 0);
        EXPECT_FALSE(std::filesystem::exists(folder.path("stats-" + std::to_string(child) + ".json")));
        EXPECT_EQ(prompt.compute(backend.get(), false), expected);
        EXPECT_EQ(token.compute(backend.get(), false), expected_token);
        backend.reset();
        EXPECT_THAT(host->take_lines(), IsEmpty());
        EXPECT_TRUE(std::filesystem::exists(folder.path("stats-" + std::to_string(getpid()) + ".json")));
    });
}

// A pre-forking server: every child fails for itself, whichever thread forks.
TEST_F(ProcessesTest, ForksWhileAnotherThreadComputes) {
    run_alone([&] {
        const auto host = GgmlHost::open_with_device();
        ASSERT_TRUE(host);
        LayerOptions options;
        options.tokens = 200;
        LayerGraph graph(*host, options, 1);
        LayerGraph other(*host, options, 2);
        BackendPtr backend = new_backend(*host);
        BackendPtr of_the_child = new_backend(*host);
        const auto expected = graph.compute(backend.get(), false);
        other.compute(of_the_child.get(), false);
        std::atomic<bool> stop{false};
        std::thread computes([&] {
            while (!stop)
                EXPECT_EQ(graph.compute(backend.get(), false), expected);
        });
        for (int i = 0; i < 5; ++i) {
            const pid_t child = fork();
            if (child == 0) {
                const ggml_status status =
                    host->ggml.ggml_backend_graph_compute(of_the_child.get(), other.graph());
                _exit(status == GGML_STATUS_FAILED ? 0 : 1);
            }
            EXPECT_EQ(status_of(child), 0);
        }
        stop = true;
        computes.join();
    });
}

// `program 2>&-`: the host writes to descriptor 2 all the same, and must not meet a file of ours there.
TEST_F(ProcessesTest, NoFileStandsForAClosedStandardStream) {
    const TemporaryFolder folder;
    run_alone([&] {
        setenv("GGML_RKNPU2_LOCK", folder.path("lock").c_str(), 1);
        setenv("GGML_RKNPU2_CHECKSUMS", folder.path("checksums").c_str(), 1);
        setenv("GGML_RKNPU2_WEIGHT_CACHE", folder.path("weights").c_str(), 1);
        setenv("GGML_RKNPU2_STATS", folder.path("stats").c_str(), 1);
        const int kept = dup(STDERR_FILENO);
        close(STDERR_FILENO);
        const auto nothing_there = [] { return fcntl(STDERR_FILENO, F_GETFD) == -1; };
        const auto host = GgmlHost::open_with_device();
        EXPECT_TRUE(nothing_there()) << "after the plug-in was loaded";
        if (host) {
            Random random;
            BackendPtr backend = new_backend(*host);
            for (int round = 0; round < 2; ++round) {
                StoredMatmul product(*host, GGML_TYPE_Q8_0, {5, 64, 96});
                product.set_weight(random_weight(*host, GGML_TYPE_Q8_0, 64, 96, random));
                EXPECT_LT(product.error(backend.get(), random), 0.02);
                EXPECT_TRUE(nothing_there()) << "after a multiplication";
            }
            backend.reset();
            EXPECT_TRUE(nothing_there()) << "after the statistics were written";
        }
        dup2(kept, STDERR_FILENO);
        ASSERT_TRUE(host);
        for (const char* const name : {"lock", "checksums", "stats"})
            EXPECT_TRUE(std::filesystem::is_regular_file(folder.path(name))) << name;
        EXPECT_FALSE(std::filesystem::is_empty(folder.path("weights")));
    });
}

}  // namespace
}  // namespace rknpu2::test
