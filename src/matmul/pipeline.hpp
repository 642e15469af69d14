// SPDX-License-Identifier: MIT
// In which order the threads of a team work through one multiplication, so that the CPU quantises and
// dequantises some rows while the NPU multiplies others.
//
// The work is cut along two lines: rows in chunks, whose activations are quantised in parts; and columns in
// strips, which the cores multiply in runs. A round is one strip of one chunk. It begins when its chunk is
// quantised, each core does its runs of it one after the other, and when all have ended the results are
// dequantised in parts. A thread that is free takes, in this order: a run for an idle core, a part to
// dequantise, a part to quantise. Results of at most kResultSlots rounds exist at a time, so memory is bounded
// whatever the size; rounds end in no particular order, but begin in ascending order on every core.
//
// A cube of activations (a chunk's part of one K segment) must be made visible to the device once: the first
// run that reads it does so (Work::sync), and the runs of other cores wait for that.
//
// This file knows no device: it calls Work. A failing run or sync ends it, and so does a task that throws;
// tasks that other threads have begun are still finished. The object can be used again and again, and
// allocates nothing when a shape comes back.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

#include "base/status.hpp"
#include "device/cube_sync.hpp"
#include "soc/rk3588.hpp"

namespace rknpu2 {

class Pipeline {
  public:
    // What the tasks do. `run` counts the runs of a core within the round's strip. The functions are called by
    // several threads at once, but for one core by one thread at a time.
    class Work {
      public:
        Work() = default;
        Work(const Work&) = delete;
        Work& operator=(const Work&) = delete;
        virtual ~Work() = default;
        virtual void quantise(size_t chunk, size_t part) = 0;
        virtual Status sync(size_t round, size_t core, size_t run) = 0;
        virtual Status run(size_t round, size_t core, size_t run) = 0;
        virtual void dequantise(size_t round, size_t part) = 0;
    };

    struct Strip {
        // For each run of each core: which K segment of the activations it reads.
        std::array<std::vector<size_t>, rk3588::kCores> segments;
    };
    struct Round {
        size_t chunk = 0;
        size_t strip = 0;
        size_t parts = 0;  // to dequantise; at least 1
    };
    struct Shape {
        size_t segments = 1;              // of K
        std::vector<size_t> chunk_parts;  // for each chunk: its parts to quantise
        std::vector<Strip> strips;        // each with at least one run; those that no round has may be old
        std::vector<Round> rounds;
        bool quantised = false;  // the activations are there already
    };

    // A thread without a task looks for one for a while before it sleeps, unless `most_awake` threads do so
    // or compute already: one that spins would stand in the way of those. 0: all sleep at once. Threads in
    // runs do not count: a run blocks.
    explicit Pipeline(int most_awake) : most_awake_(static_cast<size_t>(most_awake)) {}

    // Prepares for a multiplication. `synced`: for cube chunk * segments + segment, has the device been told
    // of it? Both must stay until the work is done.
    void begin(const Shape& shape, CubeSync& synced);

    // Takes part until all is done or something failed. Call from one thread or from several.
    void work(Work& work);

    // After all threads have come back.
    const Status& status() const { return status_; }
    // Tasks of the CPU, and those of them that began while a run was going on.
    uint64_t cpu_tasks() const { return cpu_tasks_; }
    uint64_t overlapped_tasks() const { return overlapped_; }
    // How often a thread looked for a task, how often one slept, and how many looked or computed at a time
    // when another began to look.
    struct Waits {
        uint64_t spins = 0;
        uint64_t sleeps = 0;
        size_t most_awake = 0;
    };
    const Waits& waits() const { return waits_; }

  private:
    enum class Kind : uint8_t { kRun, kDequantise, kQuantise };
    struct Task {
        Kind kind = Kind::kRun;
        size_t round = 0;  // or the chunk to quantise
        size_t core = 0;
        size_t index = 0;  // the core's run, or the part
        bool sync = false;
    };
    // Where a core stands.
    struct Core {
        size_t round = 0;
        size_t run = 0;
        bool busy = false;
    };
    struct Progress {
        size_t runs_left = 0;
        size_t next_part = 0;
        size_t parts_left = 0;
    };

    bool finished() const { return !status_.ok() || completed_ == shape_->rounds.size(); }
    bool pick(Task& task);
    bool pick_run(size_t core, Task& task);
    bool pick_dequantisation(Task& task);
    bool pick_quantisation(Task& task);
    void execute(Work& work, const Task& task, std::unique_lock<std::mutex>& lock);
    void compute(Work& work, const Task& task, std::unique_lock<std::mutex>& lock);
    Status run(Work& work, const Task& task, std::unique_lock<std::mutex>& lock);
    void end_run(const Task& task, Status status);
    void fail(Status status);
    void tell_waiting();
    void wait(std::unique_lock<std::mutex>& lock);

    const size_t most_awake_;
    std::mutex mutex_;  // guards what follows
    std::condition_variable changed_;
    size_t waiting_ = 0;
    size_t spinning_ = 0;
    size_t computing_ = 0;  // for the CPU
    Waits waits_;
    std::atomic<uint64_t> changes_{0};  // written with the lock
    const Shape* shape_ = nullptr;
    CubeSync* synced_ = nullptr;
    std::array<Core, rk3588::kCores> cores_{};
    std::vector<Progress> progress_;  // by round
    std::vector<size_t> parts_left_;  // to quantise, by chunk
    size_t next_chunk_ = 0;           // to quantise
    size_t next_part_ = 0;            // of that
    size_t completed_ = 0;            // rounds 0 .. completed_ - 1 are done
    size_t running_ = 0;
    uint64_t cpu_tasks_ = 0;
    uint64_t overlapped_ = 0;
    Status status_;
};

}  // namespace rknpu2
