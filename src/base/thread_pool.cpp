#include "base/thread_pool.hpp"

#include <pthread.h>
#include <sched.h>

namespace rknpu2 {
namespace {

void pin_to(const std::vector<int>& cpus) {
    if (cpus.empty()) return;
    cpu_set_t set;
    CPU_ZERO(&set);
    for (const int cpu : cpus) {
        if (cpu >= 0 && cpu < CPU_SETSIZE) CPU_SET(static_cast<size_t>(cpu), &set);
    }
    // A CPU list that does not exist here leaves the thread where it is: affinity is a preference.
    pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
}

}  // namespace

ThreadPool::ThreadPool(int threads, std::vector<int> cpus) {
    for (int i = 1; i < threads; ++i) {
        team_.emplace_back([this, cpus] {
            pin_to(cpus);
            work();
        });
    }
}

ThreadPool::~ThreadPool() {
    {
        const std::lock_guard lock(mutex_);
        stop_ = true;
    }
    start_.notify_all();
    for (std::thread& thread : team_)
        thread.join();
}

void ThreadPool::drain() {
    for (size_t i = next_.fetch_add(1); i < count_; i = next_.fetch_add(1))
        (*body_)(i);
}

void ThreadPool::work() {
    uint64_t seen = 0;
    std::unique_lock lock(mutex_);
    while (true) {
        start_.wait(lock, [&] { return stop_ || (round_ != seen && body_ != nullptr); });
        if (stop_) return;
        seen = round_;
        ++busy_;
        lock.unlock();
        drain();
        lock.lock();
        if (--busy_ == 0) done_.notify_all();
    }
}

void ThreadPool::parallel_for(size_t count, const std::function<void(size_t)>& body) {
    if (count == 0) return;
    const std::lock_guard one_call(call_mutex_);
    if (team_.empty() || count == 1) {
        for (size_t i = 0; i < count; ++i)
            body(i);
        return;
    }
    {
        const std::lock_guard lock(mutex_);
        body_ = &body;
        count_ = count;
        next_.store(0);
        ++round_;
    }
    if (count - 1 < team_.size()) {
        for (size_t i = 1; i < count; ++i)
            start_.notify_one();
    } else {
        start_.notify_all();
    }
    drain();
    std::unique_lock lock(mutex_);
    body_ = nullptr;  // a thread that wakes late finds nothing to do
    done_.wait(lock, [&] { return busy_ == 0; });
}

}  // namespace rknpu2
