// SPDX-License-Identifier: MIT
#include "matmul/npu_lane.hpp"

#include <algorithm>
#include <utility>

#include "system/thread_pool.hpp"

namespace rknpu2 {

NpuLane::NpuLane(size_t cores, bool spins, const std::vector<int>& cpus, Counters& counters)
    : counters_(counters), cores_(cores), spins_(spins) {
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

void NpuLane::submit(Job& job, bool first) {
    {
        const std::lock_guard lock(mutex_);
        job.status = {};
        job.fails_itself = false;
        job.begun.fill(false);
        job.cores_left = cores_;
        job.first = first;
        (first ? first_jobs_ : jobs_).push_back(&job);
    }
    submitted_.notify_all();
}

NpuLane::Job* NpuLane::done() {
    if (done_count_ == 0) return nullptr;
    const std::lock_guard lock(mutex_);
    const auto at = std::ranges::find_if(jobs_, [](const Job* job) { return job->cores_left == 0; });
    Job* const job = *at;
    jobs_.erase(at);
    --done_count_;
    return job;
}

NpuLane::Job* NpuLane::wait() {
    if (jobs_.empty()) return nullptr;
    if (team_.size() == 0) {
        if (done_count_ == 0) do_here(*jobs_.front());
        return done();
    }
    if (spins_) spin_until([&] { return done_count_ > 0; }, kRunSpin);
    {
        std::unique_lock lock(mutex_);
        finished_.wait(lock, [&] { return done_count_ > 0; });
    }
    return done();
}

bool NpuLane::is_done(const Job& job) {
    const std::lock_guard lock(mutex_);
    return job.cores_left == 0;
}

void NpuLane::wait_for(Job& job) {
    if (team_.size() == 0) do_here(job);
    if (spins_) spin_until([&] { return first_done_count_ > 0; }, kRunSpin);
    std::unique_lock lock(mutex_);
    finished_.wait(lock, [&] { return job.cores_left == 0; });
    std::erase(first_jobs_, &job);
    --first_done_count_;
}

void NpuLane::wait_for_any() {
    const auto any = [&] { return first_done_count_ > 0 || done_count_ > 0; };
    if (team_.size() == 0 && !any()) do_here(first_jobs_.empty() ? *jobs_.front() : *first_jobs_.front());
    if (spins_) spin_until(any, kRunSpin);
    std::unique_lock lock(mutex_);
    finished_.wait(lock, any);
}

// Without threads.
void NpuLane::do_here(Job& job) {
    for (size_t core = 0; core < cores_; ++core)
        if (!std::exchange(job.begun[core], true)) do_part(job, core);
}

// The next job for one of the thread's cores; null: there is none.
NpuLane::Job* NpuLane::take_job(size_t thread, size_t& core) {
    for (const auto* const jobs : {&first_jobs_, &jobs_})
        for (core = thread; core < cores_ && threads_ > 0; core += threads_)
            for (Job* const job : *jobs)
                if (!std::exchange(job->begun[core], true)) return job;
    return nullptr;
}

void NpuLane::work(size_t thread) {
    while (true) {
        size_t core = 0;
        Job* job = nullptr;
        {
            std::unique_lock lock(mutex_);
            submitted_.wait(lock, [&] { return (job = take_job(thread, core)) != nullptr || stop_; });
            if (job == nullptr) return;
        }
        do_part(*job, core);
    }
}

void NpuLane::do_part(Job& job, size_t core) {
    run_all(job, core);
    const std::lock_guard lock(mutex_);
    if (--job.cores_left > 0) return;
    ++(job.first ? first_done_count_ : done_count_);
    finished_.notify_one();
}

void NpuLane::do_first_jobs(size_t core) {
    while (true) {
        Job* first = nullptr;
        {
            const std::lock_guard lock(mutex_);
            for (Job* const job : first_jobs_)
                if (first == nullptr && !std::exchange(job->begun[core], true)) first = job;
        }
        if (first == nullptr) return;
        do_part(*first, core);
    }
}

void NpuLane::run_all(Job& job, size_t core) {
    for (const BoundRun& next : job.runs[core]) {
        if (!job.first && &next != job.runs[core].data()) do_first_jobs(core);
        const bool trusted = next.context->failure().ok();
        Status status;
        if (!sync(next, job, status)) return;
        if (status.ok()) status = execute(next, counters_);
        if (status.ok()) continue;
        const std::lock_guard lock(mutex_);
        if (job.status.ok()) job.status = std::move(status);
        job.fails_itself = job.fails_itself || trusted;
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
    status = tell(run);
    const std::lock_guard lock(mutex_);
    job.synced.end(run.cube, status.ok());
    synced_.notify_all();
    return true;
}

}  // namespace rknpu2
