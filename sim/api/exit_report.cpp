// SPDX-License-Identifier: MIT
// What is said when the library is unloaded or the process ends: leaks, how often each rule was broken, and
// the virtual time when that was asked for.
//
// In strict mode a leak ends the process with kLeakStatus, since there is no call left that could fail. A
// forked child answers for what it has made itself, and says nothing when it has called nothing.
#include <dirent.h>
#include <unistd.h>

#include <climits>
#include <cstdio>
#include <cstdlib>
#include <set>

#include "api/runtime_state.hpp"
#include "base/format.hpp"

namespace rknnsim {
namespace {

using rknpu2::format;

constexpr int kLeakStatus = 86;
constexpr const char* kWhere = "exit";

// Open descriptors that lead to buffers which this process has made.
size_t open_descriptors() {
    const std::string own = format("/memfd:rknnsim.%d ", process_id());
    DIR* folder = opendir("/proc/self/fd");
    if (folder == nullptr) return 0;
    size_t count = 0;
    while (const dirent* entry = readdir(folder)) {
        char target[PATH_MAX] = {};
        const std::string path = std::string("/proc/self/fd/") + entry->d_name;
        const ssize_t length = readlink(path.c_str(), target, sizeof target - 1);
        count += length > 0 && std::string(target).rfind(own, 0) == 0 ? 1 : 0;
    }
    closedir(folder);
    return count;
}

Outcome find_leaks(RuntimeState& state) {
    Checker& checker = state.checker();
    Outcome result;
    const auto leak = [&](const std::string& text) {
        Outcome outcome = checker.find(Rule::kLeak, kWhere, text);
        if (!outcome.ok()) result = outcome;
    };
    std::vector<std::shared_ptr<Context>> contexts = state.simulator().contexts();
    std::erase_if(contexts, [](const auto& context) { return context->process() != process_id(); });
    if (!contexts.empty()) {
        leak(format("%zu contexts are alive, the oldest is %s: call rknn_matmul_destroy for each",
                    contexts.size(), contexts.front()->name().c_str()));
    }
    std::set<const Allocation*> buffers;
    std::vector<std::shared_ptr<Memory>> memories = state.memories();
    size_t own = 0;  // buffers that this process has made
    for (const auto& memory : memories) {
        const Allocation* buffer = memory->allocation.get();
        if (buffers.insert(buffer).second && buffer->made_here()) ++own;
    }
    std::erase_if(memories, [](const auto& memory) { return memory->process != process_id(); });
    size_t bytes = 0;
    buffers.clear();
    for (const auto& memory : memories) {
        if (buffers.insert(memory->allocation.get()).second) bytes += memory->allocation->size();
    }
    if (!memories.empty()) {
        leak(format("%zu memories with %zu bytes are alive: call rknn_destroy_mem for each", memories.size(),
                    bytes));
    }
    const size_t descriptors = open_descriptors();
    if (descriptors > own) {
        leak(format("%zu descriptors of buffers are open that the program has duplicated: close them",
                    descriptors - own));
    }
    return result;
}

void print_counts(const Checker& checker) {
    std::string text;
    for (int rule = 1; rule < kRules; ++rule) {
        const uint64_t count = checker.count_of(static_cast<Rule>(rule));
        if (count <= Checker::kLines) continue;
        text += format("%s%s %llu times", text.empty() ? "" : ", ", rule_name(static_cast<Rule>(rule)),
                       static_cast<unsigned long long>(count));
    }
    if (!text.empty()) print_line("check", kWhere, "in all: " + text);
}

__attribute__((destructor)) void report_at_exit() {
    if (!has_called()) return;
    print_counted();
    RuntimeState* state = RuntimeState::peek();
    if (state == nullptr) return;
    state->write_time_output();  // before a leak can end the process
    if (!state->checker().on()) return;
    const Outcome leaks = find_leaks(*state);
    print_counts(state->checker());
    if (leaks.ok()) return;
    std::fflush(nullptr);  // _exit would lose what the program has printed
    _exit(kLeakStatus);
}

}  // namespace
}  // namespace rknnsim
