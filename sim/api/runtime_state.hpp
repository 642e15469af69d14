// SPDX-License-Identifier: MIT
// The process-wide state behind the C functions, and the frame that every one of them runs in.
//
// call() is that frame: it counts the call for RKNNSIM_FAULTS, refuses everything while a setting is bad,
// catches what might be thrown, keeps pthread_cancel out, and prints the one line that explains a failure.
// call_context() also finds the context and holds it for the duration of the call.
#pragma once

#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "api/messages.hpp"
#include "api/rknn_abi.h"
#include "api/time_output.hpp"
#include "base/format.hpp"
#include "checker/checker.hpp"
#include "core/process.hpp"
#include "core/simulator.hpp"
#include "core/system.hpp"

// The linkage and visibility of the C functions; exports.map lists them by prefix.
#define RKNNSIM_EXPORT extern "C" __attribute__((visibility("default")))

namespace rknnsim {

// The rknn_tensor_mem that callers hold, and what it stands for.
struct MemoryHandle {
    rknn_tensor_mem visible;
    rknn_tensor_mem original;  // as it was handed out; a caller may not edit it
    std::shared_ptr<Memory> memory;
};

class RuntimeState {
  public:
    // nullptr when a setting is bad; the reason has then been printed.
    static RuntimeState* get();
    // nullptr when no call was made yet, too; starts nothing.
    static RuntimeState* peek();
    // False while anything is alive. No other call may be in progress.
    static bool reset();

    RuntimeState(Settings settings, std::unique_ptr<Faults> faults, const Profile& profile,
                 std::unique_ptr<TimeOutput> output)
        : output_(std::move(output)),
          checker_(settings, print_line),
          clock_(profile, output_->listeners()),
          simulator_(std::move(settings), std::move(faults), {&checker_, &clock_}) {}

    Simulator& simulator() { return simulator_; }
    Checker& checker() { return checker_; }
    VirtualClock& clock() { return clock_; }
    void write_time_output() { output_->write(clock_); }

    rknn_tensor_mem* add_memory(std::shared_ptr<Memory> memory, void* virt, int fd, int offset);
    // An error unless `mem` is alive and unedited. `destroying`: that is what the caller wants it for.
    Outcome find_memory(const rknn_tensor_mem* mem, std::shared_ptr<Memory>* memory, bool destroying = false);
    Outcome remove_memory(const rknn_tensor_mem* mem);
    // For the report at exit: size and context of what is alive.
    std::vector<std::shared_ptr<Memory>> memories();
    size_t memory_count();
    // Memories made with a context that are still alive.
    size_t memory_count(uint64_t context);

  private:
    std::unique_ptr<TimeOutput> output_;  // the clock tells it
    Checker checker_;
    VirtualClock clock_;
    Simulator simulator_;  // which both watch
    std::mutex mutex_;     // guards the handles
    // Handles are never freed, and the last ones that were destroyed (`memory` is null) are not used again,
    // so that no new memory gets their address soon and a second destruction cannot hit it.
    static constexpr size_t kQuarantine = 4096;
    std::deque<MemoryHandle> handles_;
    std::deque<MemoryHandle*> destroyed_;  // the longest ago first
    std::unordered_map<const rknn_tensor_mem*, MemoryHandle*> by_address_;
};

// Prints the outcome's text if there is one, counts its rule; gives its code. `state` may be nullptr.
int finish(RuntimeState* state, const char* function, const Outcome& outcome);

// Tells a context that was destroyed from one that never was.
Outcome no_such_context(RuntimeState& state, uint64_t handle, Rule if_destroyed = Rule::kUseAfterDestroy);

template <typename Body>
int call(const char* function, Body&& body) noexcept {
    const NoCancellation whole;
    try {
        RuntimeState* state = RuntimeState::get();
        if (state == nullptr) return RKNN_ERR_FAIL;
        state->simulator().count_call();
        if (const int code = state->simulator().faults().call(function); code != 0) {
            print_limited("fault", function, "fails as RKNNSIM_FAULTS asks for");
            return code;
        }
        return finish(state, function, body(*state));
    } catch (const std::exception& error) {
        return finish(nullptr, function, {Code::kOutOfMemory, error.what()});
    } catch (...) {
        return RKNN_ERR_FAIL;
    }
}

template <typename Body>
int call_context(const char* function, uint64_t handle, Body&& body,
                 Rule if_destroyed = Rule::kUseAfterDestroy) noexcept {
    return call(function, [&](RuntimeState& state) -> Outcome {
        const std::shared_ptr<Context> context = state.simulator().find_context(handle);
        if (context == nullptr) return no_such_context(state, handle, if_destroyed);
        const Context::Use use = context->use();
        if (!use.owns_lock()) {
            return {Code::kFail,
                    rknpu2::format("context 0x%llx is in use by another thread: make one for each thread",
                                   static_cast<unsigned long long>(handle)),
                    Rule::kTwoThreads};
        }
        Outcome outcome = body(state, *context);
        if (!outcome.text.empty()) outcome.text = context->name() + ": " + outcome.text;
        return outcome;
    });
}

}  // namespace rknnsim
