// SPDX-License-Identifier: MIT
// In which order the threads of a team work through one multiplication, so that the CPU quantises and
// dequantises some rows while the NPU multiplies others.
//
// Rows are cut into chunks, whose activations are quantised in parts; columns into strips, which the cores
// multiply in runs. A round is one strip of one chunk: it begins when its chunk is quantised, each core does
// its runs of it one after the other, and when all have ended the results are dequantised in parts. A thread
// that is free takes, in this order: a run for an idle core, a part to dequantise, a part to quantise.
// Results of at most kResultSlots rounds exist at a time. Rounds end in no particular order, but begin in
// ascending order on every core.
//
// The first run that reads a cube of activations makes it visible to the device (Work::sync); runs of other
// cores wait for that. A failing run or sync ends the work, and so does a task that throws; tasks that other
// threads have begun are still finished. The object can be used again, and allocates nothing when a shape
// comes back.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <mutex>

#include "runs/bound_run.hpp"

namespace rknpu2 {

class Pipeline {
  public:
    // What the tasks do. `run` counts the runs of the round's strip. The functions are called by several
    // threads at once, but for one core by one thread at a time.
    class Work {
      public:
        Work() = default;
        Work(const Work&) = delete;
        Work& operator=(const Work&) = delete;
        virtual ~Work() = default;
        virtual void quantise(size_t chunk, size_t part) = 0;
        virtual Status sync(size_t round, size_t run) = 0;
        virtual Status run(size_t round, size_t run) = 0;
        virtual void dequantise(size_t round, size_t share) = 0;
    };

    struct Round {
        size_t chunk = 0;
        const RunStrip* strip = nullptr;  // with at least one run
        size_t parts = 0;                 // to dequantise; at least 1
    };
    struct Shape {
        size_t segments = 1;              // of K
        std::vector<size_t> chunk_parts;  // for each chunk: its parts to quantise
        std::vector<Round> rounds;
        bool quantised = false;  // the activations are there already
    };

    // A thread without a task looks for one for a while before it sleeps, unless `most_awake` threads look or
    // compute already: it would stand in their way. Threads in runs do not count: a run blocks.
    explicit Pipeline(int most_awake) : most_awake_(static_cast<size_t>(most_awake)) {}

    // Prepares for a multiplication. `synced` has cube chunk * segments + segment. Both must stay until the
    // work is done.
    void begin(const Shape& shape, CubeSync& synced);

    // Takes part until all is done or something failed. Call from one thread or from several.
    void work(Work& work);

    // After all threads have come back.
    const Status& status() const { return status_; }
    // Tasks of the CPU, and those of them that began while a run was going on.
    uint64_t cpu_tasks() const { return cpu_tasks_; }
    uint64_t overlapped_tasks() const { return overlapped_; }
    // How often threads looked for a task and slept, and how many at most looked or computed at a time.
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
        size_t index = 0;  // the run, or the part
        bool sync = false;
    };
    // Where a core stands.
    struct Core {
        size_t round = 0;
        size_t runs = 0;  // of the round that have begun
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
    size_t cube_of(const Task& task) const;
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
