#include "matmul/npu_lane.hpp"

#include <chrono>
#include <utility>

#include "base/format.hpp"
#include "base/spin.hpp"
#include "base/thread_pool.hpp"
#include "device/cube_sync.hpp"

namespace rknpu2 {
namespace {

// About as long as a run of some rows takes.
constexpr std::chrono::microseconds kSpin{200};

}  // namespace

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
    for (const Run& next : job.runs[core]) {
        {
            const std::lock_guard lock(mutex_);
            if (!job.status.ok()) return;
        }
        Status status;
        try {
            status = run(next, job);
            const ContextKey& key = next.context->key();
            if (!status.ok())
                status =
                    std::move(status).with_context(format("K=%zu N=%zu on core %zu", key.K, key.N, core));
        } catch (...) {
            status = Status::of_exception();
        }
        if (status.ok()) continue;
        const std::lock_guard lock(mutex_);
        job.failed[core] = next.context;
        if (job.status.ok()) job.status = std::move(status);
        synced_.notify_all();
        return;
    }
}

Status NpuLane::run(const Run& run, Job& job) {
    CachedContext& context = *run.context;
    RKNPU2_RETURN_IF_ERROR(sync(run, job));
    const PhaseTimer timer(counters_, Phase::kNpu);
    RKNPU2_RETURN_IF_ERROR(context.prepare(run.row_index, run.activations, run.weights, run.result));
    counters_.weight_bytes += run.weights.bytes;
    counters_.result_bytes += run.result.bytes;
    ++counters_.runs;
    Status status = context.run();
    if (!status.ok()) ++counters_.faults.failed_runs;
    return status;
}

Status NpuLane::sync(const Run& run, Job& job) {
    char& state = job.synced[run.cube];
    {
        std::unique_lock lock(mutex_);
        synced_.wait(lock, [&] { return state != kSyncing || !job.status.ok(); });
        if (state == kSynced) return {};
        if (!job.status.ok()) return job.status;
        state = kSyncing;
    }
    Status status = run.context->activations_written(run.activations);
    const std::lock_guard lock(mutex_);
    state = status.ok() ? kSynced : kNotSynced;
    synced_.notify_all();
    return status;
}

}  // namespace rknpu2
