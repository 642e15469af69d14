// SPDX-License-Identifier: MIT
// The virtual clock: an observer that notes what each host thread asks of the NPU, has the Timeline lay it
// out in virtual time, and keeps the sums.
//
// It never looks at a real clock and never waits. A thread's time passes with what it asks for (binding,
// conversion, runs) and with what it says about itself (advance); the clock does not know the program's own
// work. Threads wait for each other's data in virtual time:
//   * binding memory waits for the run that wrote it;
//   * a sync to the device waits for that run, and for all runs that use the memory, since the CPU has just
//     written it;
//   * a sync from the device waits for the run that wrote the memory;
//   * calls on one context come one after the other.
//
// Thread safe. Notes cost a lock and no allocation in the steady state; layout happens when somebody asks for
// a result, and after every 1024 notes.
#pragma once

#include <functional>
#include <mutex>
#include <vector>

#include "core/observer.hpp"
#include "timing/memory_times.hpp"
#include "timing/timeline.hpp"

namespace rknnsim {

struct CoreTotals {
    uint64_t runs = 0;
    uint64_t busy_ns = 0, mac_ns = 0, dma_ns = 0, stall_ns = 0;
    uint64_t read_bytes = 0, written_bytes = 0;
    uint64_t macs = 0;
    double ideal_ns = 0;  // the MACs at the peak of one core

    void add(const RunTime& run);
    void add(const CoreTotals& other);
};

struct TimeTotals {
    uint64_t elapsed_ns = 0;                                           // end of the last thing that happened
    uint64_t submit_ns = 0, bind_ns = 0, convert_ns = 0, sync_ns = 0;  // CPU time, summed over threads
    uint64_t syncs = 0, synced_bytes = 0;  // calls of either kind, and what they went through
    std::array<CoreTotals, kCores> cores;
};

class VirtualClock : public Observer, private Timeline::Listener {
  public:
    // `listeners` are told of everything that is laid out, under the clock's lock.
    VirtualClock(Profile profile, std::vector<Timeline::Listener*> listeners);

    void on_bind(const BindEvent& event) override;
    void on_sync(const SyncEvent& event) override;
    void on_run(const RunEvent& event) override;

    Profile profile();
    Outcome set(const std::string& parameter, double value);
    // One run of that shape while `cores` cores are busy, alone on its own.
    RunTime predict(const MatmulShape& shape, int cores);

    // What follows is about the calling thread. The last run has no cost when there was none.
    RunTime last_run();
    uint64_t now();
    void advance(uint64_t ns);
    void advance_to(uint64_t ns);
    // Waits for everything that was noted so far.
    void join();

    TimeTotals totals();
    // Lays out everything, then calls `body` under the lock: the listeners hold still.
    void settled(const std::function<void()>& body);

  private:
    struct ContextTime {
        uint64_t handle = 0;
        Moment last;
        std::array<MemoryTimes::Cursor, 3> cursors;  // for A, B and C
    };
    struct Use;

    HostThread& thread();
    HostThread& new_thread();
    ContextTime& context_time(uint64_t handle);
    std::shared_ptr<const RunCost> cost_of(const MatmulShape& shape);
    void wait_for(const Use& use, int waiter, Dependencies* after);
    void note(const Use& use, const Moment& moment);
    double sync_ns(const SyncEvent& event) const;
    uint64_t convert_c_ns(const MatmulShape& shape) const;
    void settle_moments();

    void on_run_time(const RunTime& run) override;
    void on_cpu_time(const char* what, int thread, uint64_t start_ns, uint64_t end_ns) override;

    const uint64_t id_;  // of this clock, among all there ever were
    const std::vector<Timeline::Listener*> listeners_;

    std::mutex mutex_;  // guards what follows
    Profile profile_;
    Timeline timeline_;
    MemoryTimes memory_times_;
    std::vector<std::unique_ptr<HostThread>> threads_;
    int thread_count_ = 0;  // ever
    uint64_t forgotten_now_ = 0;
    std::vector<ContextTime> contexts_;  // by handle, the younger one wins
    std::vector<std::shared_ptr<const RunCost>> costs_;
    uint64_t last_settled_ = 0;
    TimeTotals totals_;
};

}  // namespace rknnsim
