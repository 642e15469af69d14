// SPDX-License-Identifier: MIT
#include "sim/random/isolate.hpp"

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <stdexcept>

#include "api/rknnsim.h"
#include "base/format.hpp"

namespace rknnsim_random {
namespace {

using rknpu2::format;

// What the child tells its parent, whatever becomes of it.
struct Shared {
    uint64_t seed;
    uint64_t calls, refused, compared;
    bool done;
    bool leaks;  // leaves something alive that the checker has to name
    char problem[1024];
};

// The child's life. It leaves by exit(), so that a leak checker gets its turn.
[[noreturn]] void live(size_t count, const std::function<Program(size_t)>& make, const Isolation& isolation,
                       Messages& messages, Shared* shared) {
    messages.capture();
    bool last_is_checked = false;
    for (size_t i = 0; i < count; ++i) {
        alarm(isolation.seconds);
        const Program program = make(i);
        shared->seed = program.seed;
        last_is_checked = program.settings.check;
        const bool clean_up = !isolation.leave_last_alive || i + 1 < count;
        const Report report = execute(program, messages, isolation.sabotage, clean_up);
        shared->calls += report.calls;
        shared->refused += report.refused;
        shared->compared += report.compared;
        if (report.problem.empty()) continue;
        const size_t step = report.step < 0 ? 0 : static_cast<size_t>(report.step);
        const std::string call = step < program.steps.size() ? text_of(program.steps[step]) : "(the end)";
        std::snprintf(shared->problem, sizeof shared->problem, "step %zu: %.600s %s", step, call.c_str(),
                      report.problem.c_str());
        _exit(1);
    }
    shared->done = true;
    rknnsim_live_counts live{};
    shared->leaks = isolation.leave_last_alive && last_is_checked && rknnsim_live(&live) == 0 &&
                    live.contexts + live.memories > 0;
    alarm(isolation.seconds);
    std::exit(0);
}

std::string cause_of(int status, const Shared& shared) {
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM) return "it hangs";
    if (WIFSIGNALED(status)) return format("it dies of signal %d", WTERMSIG(status));
    if (shared.problem[0] != '\0') return shared.problem;
    return format("it exits with %d%s", WEXITSTATUS(status), shared.done ? " after the last program" : "");
}

}  // namespace

Verdict run_isolated(size_t count, const std::function<Program(size_t)>& program,
                     const Isolation& isolation) {
    Messages messages;
    void* const memory =
        mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::runtime_error("no shared memory");
    auto* const shared = new (memory) Shared{};
    std::fflush(nullptr);
    const pid_t child = fork();
    if (child < 0) throw std::runtime_error("cannot fork");
    if (child == 0) live(count, program, isolation, messages, shared);
    int status = 0;
    waitpid(child, &status, 0);
    const bool silent = shared->leaks && messages.tail(6000).find(": [leak] ") == std::string::npos;
    Verdict verdict{.failed = status != 0 || silent, .seed = shared->seed};
    verdict.calls = shared->calls;
    verdict.refused = shared->refused;
    verdict.compared = shared->compared;
    if (verdict.failed) {
        verdict.problem = status == 0 ? "what it leaves alive is not reported" : cause_of(status, *shared);
        verdict.said = messages.tail(6000);
    }
    munmap(memory, sizeof(Shared));
    return verdict;
}

Program shrink(const Program& program, const Isolation& isolation, int attempts) {
    Program best = program;
    for (size_t chunk = best.steps.size() / 2; chunk > 0 && attempts > 0; chunk /= 2) {
        for (size_t first = 0; first < best.steps.size() && attempts > 0; --attempts) {
            Program candidate = best;
            const auto begin = candidate.steps.begin() + static_cast<ptrdiff_t>(first);
            const size_t size = std::min(chunk, best.steps.size() - first);
            candidate.steps.erase(begin, begin + static_cast<ptrdiff_t>(size));
            if (run_isolated(
                    1, [&](size_t) { return candidate; }, isolation)
                    .failed) {
                best = std::move(candidate);
            } else {
                first += chunk;
            }
        }
    }
    return best;
}

}  // namespace rknnsim_random
