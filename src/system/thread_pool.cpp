// SPDX-License-Identifier: MIT
#include "system/thread_pool.hpp"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <chrono>
#include <thread>

namespace rknpu2 {
namespace {

// Longer than the pause between two products of a layer, and no longer than a wake-up (kWakeNs).
constexpr std::chrono::microseconds kSpin{50};

// With fewer CPUs, a thread that spins stands in the way of the one it waits for.
constexpr int kSpinCpus = 4;

// Until a sleeping thread runs: 20 to 50 microseconds on a PC, more on a busy one.
constexpr uint64_t kWakeNs = 60'000;

}  // namespace

void pin_thread(const std::vector<int>& cpus) {
    if (cpus.empty()) return;
    cpu_set_t set;
    CPU_ZERO(&set);
    for (const int cpu : cpus)
        if (cpu >= 0 && cpu < CPU_SETSIZE) CPU_SET(static_cast<size_t>(cpu), &set);
    // A CPU list that does not exist here leaves the thread where it is: affinity is a preference.
    pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
}

int allowed_cpus() {
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof(set), &set) == 0) return CPU_COUNT(&set);
    return static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
}

ThreadPool::ThreadPool(int threads, const std::vector<int>& cpus) {
    const int available = cpus.empty() ? allowed_cpus() : static_cast<int>(cpus.size());
    most_spinning_ = available >= kSpinCpus ? std::min(threads, available) : 0;
    if (threads <= 1) return;
    team_.start(static_cast<size_t>(threads) - 1, [this, cpus](size_t) {
        pin_thread(cpus);
        work();
    });
}

ThreadPool::~ThreadPool() {
    {
        const std::lock_guard lock(mutex_);
        stop_ = true;
    }
    start_.notify_all();
    team_.join();
}

// The caller's frame must stay until the team has done with it, so a failure waits.
void ThreadPool::drain(const BodyRef& body, size_t count) noexcept {
    try {
        for (size_t i = next_.fetch_add(1); i < count; i = next_.fetch_add(1))
            body.call(body.bound, i);
    } catch (...) {
        next_.store(count);
        const std::lock_guard lock(mutex_);
        if (failure_ == nullptr) failure_ = std::current_exception();
    }
}

void ThreadPool::work() {
    uint64_t seen = 0;
    while (true) {
        if (++spinning_ <= most_spinning_)
            spin_until([&] { return stop_.load() || round_.load() != seen; }, kSpin);
        --spinning_;
        std::unique_lock lock(mutex_);
        ++sleeping_;
        start_.wait(lock, [&] { return stop_.load() || round_.load() != seen; });
        --sleeping_;
        if (stop_) return;
        seen = round_;
        if (body_ == nullptr) continue;  // too late, all is done
        ++busy_;
        const BodyRef& body = *body_;
        const size_t count = count_;
        lock.unlock();
        drain(body, count);
        lock.lock();
        if (--busy_ == 0) done_.notify_all();
    }
}

void ThreadPool::run(const BodyRef& body, size_t count, uint64_t estimated_ns) {
    if (count == 0) return;
    const std::lock_guard one_call(call_mutex_);
    if (team_.size() == 0 || count == 1 || (most_spinning_ == 0 && estimated_ns < kWakeNs)) {
        for (size_t i = 0; i < count; ++i)
            body.call(body.bound, i);
        return;
    }
    size_t to_wake = 0;
    {
        const std::lock_guard lock(mutex_);
        body_ = &body;
        count_ = count;
        next_.store(0);
        ++round_;
        const auto awake = static_cast<size_t>(std::max(0, spinning_.load()));
        to_wake = std::min(sleeping_, count - 1 - std::min(awake, count - 1));
    }
    for (size_t i = 0; i < to_wake; ++i)
        start_.notify_one();
    drain(body, count);
    {
        const std::lock_guard lock(mutex_);
        body_ = nullptr;  // a thread that wakes late finds nothing to do
    }
    wait_for_team();
}

void ThreadPool::wait_for_team() {
    if (++spinning_ <= most_spinning_) spin_until([&] { return busy_.load() == 0; }, kSpin);
    --spinning_;
    std::exception_ptr failure;
    {
        // The last thread may still hold the lock on its way out; taking it makes its writes ours.
        std::unique_lock lock(mutex_);
        done_.wait(lock, [&] { return busy_.load() == 0; });
        failure.swap(failure_);
    }
    if (failure != nullptr) std::rethrow_exception(failure);
}

}  // namespace rknpu2
