// SPDX-License-Identifier: MIT
// Threads that do the NPU's runs, one for each core, while another thread goes on with the CPU's work.
//
// A job is a list of runs for each core. A core begins jobs in the order in which they were submitted, whatever the
// others do; those that go first also between two runs of others. A job is done when all cores are; when a run of it
// fails, the runs that are left are skipped. The first run that reads a cube makes it visible to the device.
// All that submits, asks and waits belongs to one thread. The lane's threads sleep while there is nothing to do;
// they make no contexts;
// a core's own thread imports what its contexts read for the first time.
//
// When there are fewer threads to be had than cores, they share the cores; without any, who waits does the runs.
#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>

#include "runs/bound_run.hpp"
#include "system/threads.hpp"

namespace rknpu2 {

class NpuLane {
  public:
    // A context belongs to one core, and only its thread touches it while the lane has jobs.
    struct Job {
        std::array<std::vector<BoundRun>, rk3588::kCores> runs;
        CubeSync synced;  // by cube; reset by who submits
        Status status;    // of the first run that failed
        // False: only in contexts in which another job's run had failed.
        bool fails_itself = false;

      private:
        friend class NpuLane;
        bool first = false;  // before all that are not
        std::array<bool, rk3588::kCores> begun{};
        size_t cores_left = 0;
    };

    // `spins`: wait() looks for a while before it sleeps. `cpus`: that the threads may run on, empty for all.
    NpuLane(size_t cores, bool spins, const std::vector<int>& cpus, Counters& counters);
    ~NpuLane();
    NpuLane(const NpuLane&) = delete;
    NpuLane& operator=(const NpuLane&) = delete;

    // The job must stay where it is until done() or wait() has returned it.
    void submit(Job& job) { submit(job, false); }
    // A job that is done, or null when none is. Each is returned once.
    Job* done();
    // Blocks until a job is done and returns it; returns null if none is pending.
    Job* wait();
    // Likewise for a job that goes before all others. It must stay where it is until wait_for() returns; done() and
    // wait() do not know of it.
    void submit_first(Job& job) { submit(job, true); }
    bool is_done(const Job& job);
    void wait_for(Job& job);
    // Blocks until some job, of either kind, is done that nobody has got back. Only while there is one.
    void wait_for_any();

  private:
    void submit(Job& job, bool first);
    void work(size_t thread);
    Job* take_job(size_t thread, size_t& core);
    void do_part(Job& job, size_t core);
    void run_all(Job& job, size_t core);
    void do_first_jobs(size_t core);
    void do_here(Job& job);
    bool sync(const BoundRun& run, Job& job, Status& status);

    Counters& counters_;
    const size_t cores_;
    const bool spins_;
    std::mutex mutex_;  // guards what follows
    std::condition_variable submitted_;
    std::condition_variable synced_;
    std::condition_variable finished_;
    std::vector<Job*> jobs_;  // submitted and not returned yet, in their order; the submitting thread's alone
    std::atomic<size_t> done_count_{0};        // of them, done and not returned yet
    std::vector<Job*> first_jobs_;             // likewise, those that go first
    std::atomic<size_t> first_done_count_{0};  // of them, done and not waited for yet
    bool stop_ = false;
    size_t threads_ = 0;  // thread i of them serves the cores i, i + threads_, ...
    StartedThreads team_;
};

}  // namespace rknpu2
