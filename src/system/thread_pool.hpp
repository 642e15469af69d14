// SPDX-License-Identifier: MIT
// A fixed team of threads for short, equal pieces of work (packing, quantising, one task per NPU core).
//
// parallel_for(n, f) calls f(0) .. f(n-1), each once, on the caller and the team, and returns when all are
// done. Calls from several threads are served one after the other; f must not call parallel_for of the same
// pool. When f throws, on whatever thread, indices that nobody has begun are left out; parallel_for waits for
// the others, and throws the first exception on the caller.
//
// A thread without work looks for more for some tens of microseconds before it sleeps: multiplications follow
// each other that closely, and waking a thread takes longer. At most as many threads as the team has CPUs do
// so, and none where there are fewer than four CPUs: they would stand in their own way.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <mutex>
#include <vector>

#include "base/status.hpp"
#include "system/threads.hpp"

namespace rknpu2 {

class ThreadPool {
  public:
    // `threads` counts the caller: 1 means no extra thread. There may be fewer (system/threads.hpp); threads()
    // says how many. `cpus`: numbers of the CPUs that the team may run on, empty for all.
    explicit ThreadPool(int threads, const std::vector<int>& cpus = {});
    ~ThreadPool();

    int threads() const { return static_cast<int>(team_.size()) + 1; }
    // Threads that look for work before they sleep, at most.
    int most_spinning() const { return most_spinning_; }
    bool spins() const { return most_spinning_ > 0; }

    // `estimated_ns`: what all the work takes one thread, if the caller knows. The caller alone does what
    // takes less than waking a thread.
    template <typename Body>
    void parallel_for(size_t count, const Body& body, uint64_t estimated_ns = UINT64_MAX) {
        run({&body, [](const void* bound, size_t index) { (*static_cast<const Body*>(bound))(index); }},
            count, estimated_ns);
    }

    // For a body that returns a Status: returns the first failure. All indices are done.
    template <typename Body>
    Status parallel_try(size_t count, const Body& body, uint64_t estimated_ns = UINT64_MAX) {
        std::mutex mutex;
        Status first;
        const auto try_one = [&](size_t index) {
            Status status = body(index);
            if (status.ok()) return;
            const std::lock_guard lock(mutex);
            if (first.ok()) first = std::move(status);
        };
        parallel_for(count, try_one, estimated_ns);
        return first;
    }

  private:
    // A body that the caller keeps alive: std::function would allocate at every call.
    struct BodyRef {
        const void* bound;
        void (*call)(const void* bound, size_t index);
    };

    void run(const BodyRef& body, size_t count, uint64_t estimated_ns);
    void work();
    void drain(const BodyRef& body, size_t count) noexcept;
    void wait_for_team();

    int most_spinning_ = 0;
    std::atomic<int> spinning_{0};
    std::mutex call_mutex_;  // one parallel_for at a time
    std::mutex mutex_;       // guards what follows, for writing; the atomics are also read without it
    std::condition_variable start_;
    std::condition_variable done_;
    const BodyRef* body_ = nullptr;
    size_t count_ = 0;
    size_t sleeping_ = 0;
    std::exception_ptr failure_;  // the first of this call
    std::atomic<size_t> next_{0};
    std::atomic<size_t> busy_{0};
    std::atomic<uint64_t> round_{0};
    std::atomic<bool> stop_{false};
    StartedThreads team_;
};

// CPUs that the process may run on.
int allowed_cpus();

// The calling thread may run on these CPUs only; empty: on all. CPUs that do not exist are left out.
void pin_thread(const std::vector<int>& cpus);

}  // namespace rknpu2
