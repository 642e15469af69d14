// SPDX-License-Identifier: MIT
// Virtual time: what host threads did, in the order of each thread, laid out on three cores.
//
// Calls are only noted (add_*), and laid out later, many at once (resolve): the outcome then depends on what
// waits for what and not on which thread of the simulation happened to be faster. An operation starts when
// its thread has ended the one before and every operation in `after` has ended; a run then also waits for its
// core, first come, first served in virtual time. AUTO takes the core that can start first, the lowest when
// several can.
//
// Runs that overlap share the memory: while n cores are busy, each proceeds at the speed it would have with n
// cores busy from start to end. A run that was laid out in an earlier round keeps its time; a later one that
// overlaps it only sees that core busy.
//
// All times are whole nanoseconds since the start. No wall time, no locks: VirtualClock has the lock.
#pragma once

#include <algorithm>
#include <array>
#include <memory>
#include <vector>

#include "timing/work.hpp"

namespace rknnsim {

// What a shape costs, with 1, 2 and 3 cores busy.
struct RunCost {
    MatmulShape shape;
    Work work;
    std::array<Duration, kCores> by_cores;
    std::array<double, kCores> bytes_a_ns{};  // of one core, with 1, 2 and 3 of them busy
    double macs_a_ns = 0;
    double ideal_ns = 0;  // at the peak of one core
};

// One run, laid out.
struct RunTime {
    std::shared_ptr<const RunCost> cost;
    uint64_t context = 0;
    int core = -1;
    int thread = -1;
    uint64_t call_ns = 0;     // the thread was free and its operands ready
    uint64_t request_ns = 0;  // submitted
    uint64_t start_ns = 0;    // on the core
    uint64_t stop_ns = 0;
    uint64_t end_ns = 0;                 // C converted, the call returns
    std::array<double, kCores> share{};  // of the work that was done while 1, 2, 3 cores were busy

    uint64_t mac_ns() const;
    uint64_t dma_ns() const;
    uint64_t stall_ns() const { return stop_ns - start_ns - mac_ns(); }
};

struct HostThread {
    int number = 0;
    uint64_t serial = 0;
    uint64_t now = 0;  // end of its last operation that was laid out
    RunTime last_run;  // cost is null before the first one
    uint64_t round = 0;
    std::vector<uint32_t> operations;  // of this round
    size_t next = 0;                   // of these
    bool waiting = false;
};

// The operations, by id, that another one waits for, and a time before which it does not start.
class Dependencies {
  public:
    Dependencies() {}  // NOLINT: the ids are left as they are
    Dependencies(const Dependencies& other) { *this = other; }
    Dependencies& operator=(const Dependencies& other) {
        std::copy(other.begin(), other.end(), ids_.begin());
        count_ = other.count_;
        all_up_to_ = other.all_up_to_;
        ns_ = other.ns_;
        return *this;
    }
    void add(uint64_t id) {
        for (int i = 0; i < count_; ++i) {
            if (ids_[i] == id) return;
        }
        if (id == 0) return;
        if (count_ < kRoom) {
            ids_[count_++] = id;
        } else if (id > all_up_to_) {  // rare; then it waits for more than it needs to
            all_up_to_ = id;
        }
    }
    void not_before(uint64_t ns) {
        if (ns > ns_) ns_ = ns;
    }
    uint64_t ns() const { return ns_; }
    const uint64_t* begin() const { return ids_.data(); }
    const uint64_t* end() const { return ids_.data() + count_; }
    // Every operation up to this id, too.
    uint64_t all_up_to() const { return all_up_to_; }

  private:
    static constexpr int kRoom = 12;
    std::array<uint64_t, kRoom> ids_;  // only the first count_ mean anything
    int count_ = 0;
    uint64_t all_up_to_ = 0;
    uint64_t ns_ = 0;
};

class Timeline {
  public:
    // Told of everything that was laid out; runs in the order of their ends.
    class Listener {
      public:
        virtual ~Listener() = default;
        virtual void on_run_time(const RunTime& run) = 0;
        virtual void on_cpu_time(const char* what, int thread, uint64_t start_ns, uint64_t end_ns) = 0;
    };

    static constexpr uint64_t kEndsKept = 1 << 14;
    static constexpr size_t kRound = 1024;  // operations at most

    explicit Timeline(Listener& listener);

    // Both return the operation's id; ids grow by one, from 1. `what` is a literal.
    uint64_t add_cpu(HostThread& thread, const char* what, uint64_t cpu_ns, const Dependencies& after);
    // `core_mask` is 1, 2, 4 or 0; `convert_ns` is CPU time after the run. For `delay_ns`
    // after its work the core is taken, but leaves the memory alone.
    uint64_t add_run(HostThread& thread, uint64_t context, int core_mask, std::shared_ptr<const RunCost> cost,
                     uint64_t submit_ns, uint64_t convert_ns, uint64_t delay_ns, const Dependencies& after);

    void resolve();

    // When the operation ended; it must have been laid out and be among the last kEndsKept.
    uint64_t end_of(uint64_t id) const { return ends_[id % kEndsKept]; }
    bool resolved(uint64_t id) const { return id < first_; }
    uint64_t last_id() const { return next_id_ - 1; }
    // The end of everything so far.
    uint64_t latest() const { return latest_; }

  private:
    struct Operation {
        HostThread* thread = nullptr;
        const char* what = nullptr;
        uint64_t cpu_ns = 0;
        Dependencies after;
        bool done = false;
        int core_mask = -1;  // -1: not a run
        uint64_t context = 0;
        uint64_t convert_ns = 0;
        uint64_t delay_ns = 0;
        std::shared_ptr<const RunCost> cost;
    };
    struct Request {
        uint32_t operation;
        uint64_t call_ns, request_ns;
    };
    struct Core {
        bool busy = false;
        uint32_t operation = 0;
        double remaining = 0;  // of the running one
        RunTime run;           // running, or the last one
    };
    struct Start {
        size_t request = 0;
        int core = -1;
        uint64_t ns = UINT64_MAX;
    };

    Operation& append(HostThread& thread, uint64_t* id);
    bool ready(const Operation& operation, uint64_t* ns) const;
    void advance_threads();
    bool advance_thread(HostThread& thread);
    void end_operation(uint32_t index, uint64_t end_ns);
    Start next_start() const;
    bool occupied(const Core& core) const;
    void step();
    void begin_run(const Start& start);
    void end_run(Core& core);

    Listener& listener_;
    std::vector<Operation> operations_;  // of this round; the first one has id first_
    size_t count_ = 0;
    std::vector<HostThread*> threads_;  // of this round
    std::vector<Request> requests_;
    std::array<Core, kCores> cores_;
    std::vector<uint64_t> ends_;
    uint64_t first_ = 1;
    uint64_t next_id_ = 1;
    uint64_t round_ = 1;
    uint64_t now_ = 0;
    uint64_t latest_ = 0;
    uint64_t end_of_rounds_ = 0;  // of everything in earlier rounds
};

}  // namespace rknnsim
