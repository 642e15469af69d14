// SPDX-License-Identifier: MIT
#include "matmul/npu_lane.hpp"

#include <chrono>
#include <utility>

#include "system/spin.hpp"
#include "system/thread_pool.hpp"

namespace rknpu2 {
namespace {

// About as long as a run of some rows takes.
constexpr std::chrono::microseconds kSpin{200};

}  // namespace

NpuLane::NpuLane(size_t cores, bool spins, const std::vector<int>& cpus, Counters& counters)
    : executor_(counters), cores_(cores), spins_(spins) {
    team_.start(cores, [this, cpus](size_t thread) {
        pin_thread(cpus);
        work(thread);
    });
    const std::lock_guard lock(mutex_);
    threads_ = team_.size();
}

NpuLane::~NpuLane() {
    {
        const std::lock_guard lock(mutex_);
        stop_ = true;
    }
    submitted_.notify_all();
    team_.join();
}

void NpuLane::submit(Job& job) {
    ++jobs_;
    {
        const std::lock_guard lock(mutex_);
        job.status = {};
        job.failed.fill(nullptr);
        job.cores_left = cores_;
        job.next.fill(nullptr);
        job.next_done = nullptr;
        for (size_t core = 0; core < cores_; ++core) {
            Queue& queue = queues_[core];
            (queue.first == nullptr ? queue.first : queue.last->next[core]) = &job;
            queue.last = &job;
        }
    }
    submitted_.notify_all();
}

NpuLane::Job* NpuLane::done() {
    if (done_count_ == 0) return nullptr;
    const std::lock_guard lock(mutex_);
    Job* const job = done_.first;
    done_.first = job->next_done;
    --done_count_;
    --jobs_;
    return job;
}

NpuLane::Job* NpuLane::wait() {
    if (jobs_ == 0) return nullptr;
    if (team_.size() == 0) {
        for (size_t core = 0; core < cores_ && done_count_ == 0; ++core)
            do_part(*take_job(core), core);
        return done();
    }
    if (spins_) spin_until([&] { return done_count_ > 0; }, kSpin);
    {
        std::unique_lock lock(mutex_);
        finished_.wait(lock, [&] { return done_count_ > 0; });
    }
    return done();
}

// The thread's next core that has a job; cores_: none.
size_t NpuLane::core_with_job(size_t thread) const {
    for (size_t core = thread; core < cores_ && threads_ > 0; core += threads_) {
        if (queues_[core].first != nullptr) return core;
    }
    return cores_;
}

NpuLane::Job* NpuLane::take_job(size_t core) {
    Job* const job = queues_[core].first;
    queues_[core].first = job->next[core];
    return job;
}

void NpuLane::work(size_t thread) {
    while (true) {
        size_t core = cores_;
        Job* job = nullptr;
        {
            std::unique_lock lock(mutex_);
            submitted_.wait(lock, [&] { return (core = core_with_job(thread)) < cores_ || stop_; });
            if (core == cores_) return;
            job = take_job(core);
        }
        do_part(*job, core);
    }
}

void NpuLane::do_part(Job& job, size_t core) {
    run_all(job, core);
    const std::lock_guard lock(mutex_);
    if (--job.cores_left > 0) return;
    (done_.first == nullptr ? done_.first : done_.last->next_done) = &job;
    done_.last = &job;
    ++done_count_;
    finished_.notify_one();
}

void NpuLane::run_all(Job& job, size_t core) {
    for (const BoundRun& next : job.runs[core]) {
        Status status;
        if (!sync(next, job, status)) return;
        if (status.ok()) status = executor_.run(next, job.failed);
        if (status.ok()) continue;
        const std::lock_guard lock(mutex_);
        if (job.status.ok()) job.status = std::move(status);
        synced_.notify_all();
        return;
    }
}

// The device knows the run's activations then, or `status` says why not. False: the job has failed, and the
// run is not to be done.
bool NpuLane::sync(const BoundRun& run, Job& job, Status& status) {
    auto state = CubeSync::State::kDone;
    {
        std::unique_lock lock(mutex_);
        synced_.wait(lock, [&] {
            return !job.status.ok() || (state = job.synced.begin(run.cube)) != CubeSync::State::kOthers;
        });
        if (!job.status.ok()) return false;
    }
    if (state == CubeSync::State::kDone) return true;
    status = executor_.tell(run, job.failed);
    const std::lock_guard lock(mutex_);
    job.synced.end(run.cube, status.ok());
    synced_.notify_all();
    return true;
}

}  // namespace rknpu2
