// SPDX-License-Identifier: MIT
// Everything that one process shares: settings, faults, the kernel tier, memory, the table of contexts,
// counters, and who watches. Thread safe.
#pragma once

#include <atomic>
#include <memory>
#include <shared_mutex>
#include <unordered_map>
#include <vector>

#include "core/context.hpp"
#include "core/faults.hpp"
#include "core/memory.hpp"
#include "core/observer.hpp"
#include "core/settings.hpp"

namespace rknnsim {

class Simulator {
  public:
    // `settings` have been checked. The observers must outlive the simulator.
    Simulator(Settings settings, std::unique_ptr<Faults> faults, std::vector<Observer*> observers);

    const Settings& settings() const { return settings_; }
    const KernelTier& tier() const { return *tier_; }
    Faults& faults() { return *faults_; }
    MemoryPool& memory() { return memory_; }

    // Context handles are numbers, never reused and never addresses.
    Outcome create_context(const Request& request, uint64_t* handle, std::shared_ptr<Context>* context);
    std::shared_ptr<Context> find_context(uint64_t handle) const;
    Outcome destroy_context(uint64_t handle);
    size_t context_count() const;
    std::vector<std::shared_ptr<Context>> contexts() const;  // the oldest first
    // Was there ever a context of this handle?
    bool was_context(uint64_t handle) const;

    // What follows asks and tells the observers. `call`: the function's name, for messages.
    //
    // As Context::bind and Context::run.
    Outcome bind(Context& context, const OperandDesc& attr, const std::shared_ptr<Memory>& memory);
    Outcome run(const char* call, Context& context);
    // Hands a memory to the device, to the CPU, or to both.
    Outcome sync(const char* call, const std::shared_ptr<Memory>& memory, bool to_device, bool from_device);
    // As sync() for what does not go through the runtime: no observer may refuse.
    void hand_over(SyncEvent event);
    // B of `problem` from rows [K,N] to the native layout.
    Outcome convert(const char* call, const Problem& problem, const void* from, void* to);
    // The program gives up a memory. An error is what the call must return; the memory goes all the same.
    Outcome release(const char* call, const Memory& memory);

    // The program cleans the lines of a range itself, and invalidates them when asked to.
    Outcome clean_lines(const void* address, uint64_t bytes, bool invalidate);

    // What the device sees of a range.
    Outcome device_bytes(const void* address, uint64_t bytes, std::byte* to);

    // A call of the interface begins.
    void count_call() { calls_.fetch_add(1, std::memory_order_relaxed); }

    uint64_t runs() const { return runs_; }
    uint64_t macs() const { return macs_; }

    // True once: several contexts may want to say the same thing.
    bool first_core_warning() { return !core_warning_given_.exchange(true); }

  private:
    Outcome find_range(const void* address, uint64_t bytes, Memory* range);
    // Both call `body` with each observer; ask() stops at the first error and returns it.
    template <typename Body>
    Outcome ask(Body&& body) const;
    template <typename Body>
    void tell(Body&& body) const;

    Settings settings_;
    const std::unique_ptr<Faults> faults_;
    const KernelTier* tier_;
    MemoryPool memory_;
    ScratchPool scratch_;
    const std::vector<Observer*> observers_;

    mutable std::shared_mutex mutex_;  // guards the table
    std::unordered_map<uint64_t, std::shared_ptr<Context>> contexts_;
    static constexpr uint64_t kFirstHandle = 0x52330001;
    uint64_t next_handle_ = kFirstHandle;
    std::atomic<uint64_t> calls_{0};
    std::atomic<uint64_t> syncs_{0};
    std::atomic<uint64_t> runs_{0};
    std::atomic<uint64_t> macs_{0};
    std::atomic<bool> core_warning_given_{false};
};

}  // namespace rknnsim
