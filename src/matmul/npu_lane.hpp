// SPDX-License-Identifier: MIT
// Threads that do the NPU's runs, one for each core, while another thread goes on with the CPU's work.
//
// A job is a list of runs for each core. Jobs are begun in the order in which they were submitted; a core
// goes on to the next job when it has done its part of one, whatever the others do. A job is done when all
// cores are; when a run of it fails, the runs that are left are skipped. A cube of activations is made
// visible to the device once, by the first run that reads it. submit(), done() and wait() belong to one
// thread. The threads sleep while there is nothing to do, and make neither contexts nor imports. An exception
// in a run is a failure of that run.
//
// When there are fewer threads to be had than cores, those there are share the cores; without any, wait()
// does the runs.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <vector>

#include "counters/counters.hpp"
#include "device/cube_sync.hpp"
#include "matmul/bound_run.hpp"
#include "soc/rk3588.hpp"
#include "system/threads.hpp"

namespace rknpu2 {

class NpuLane {
  public:
    // A context belongs to one core, and only its thread touches it while the lane has jobs.
    struct Job {
        std::array<std::vector<BoundRun>, rk3588::kCores> runs;
        CubeSync synced;  // by cube; reset by who submits
        Status status;    // of the first run that failed
        FailedContexts failed{};

      private:
        friend class NpuLane;
        size_t cores_left = 0;
        std::array<Job*, rk3588::kCores> next{};  // in the queue of each core
        Job* next_done = nullptr;
    };

    // `spins`: wait() looks for a while before it sleeps. `cpus`: that the threads may run on, empty for all.
    NpuLane(size_t cores, bool spins, const std::vector<int>& cpus, Counters& counters);
    ~NpuLane();
    NpuLane(const NpuLane&) = delete;
    NpuLane& operator=(const NpuLane&) = delete;

    // The job must stay where it is until done() or wait() has returned it.
    void submit(Job& job);
    // A job that is done, or null when none is. Each is returned once.
    Job* done();
    // Blocks until a job is done and returns it; returns null if none is pending.
    Job* wait();

  private:
    // Jobs one after the other, linked by themselves: a thread of the lane allocates nothing.
    struct Queue {
        Job* first = nullptr;
        Job* last = nullptr;  // while there is a first
    };

    void work(size_t thread);
    size_t core_with_job(size_t thread) const;
    Job* take_job(size_t core);
    void do_part(Job& job, size_t core);
    void run_all(Job& job, size_t core);
    bool sync(const BoundRun& run, Job& job, Status& status);

    const RunExecutor executor_;
    const size_t cores_;
    const bool spins_;
    size_t jobs_ = 0;   // of the submitting thread
    std::mutex mutex_;  // guards what follows
    std::condition_variable submitted_;
    std::condition_variable synced_;
    std::condition_variable finished_;
    std::array<Queue, rk3588::kCores> queues_;
    Queue done_;
    std::atomic<size_t> done_count_{0};
    bool stop_ = false;
    size_t threads_ = 0;  // thread i of them serves the cores i, i + threads_, ...
    ThreadTeam team_;
};

}  // namespace rknpu2
