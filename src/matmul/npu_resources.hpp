// SPDX-License-Identifier: MIT
// What the calls of a device use: its runtime, memory, contexts and threads. One call at a time has them.
//
// Three kinds of calls do: a Multiplication and a single attention, which are over when they return, and an NpuFlow, which
// lasts. All hold the mutex from beginning to end; what belongs to a call is theirs.
//
// The NPU belongs to the process that made this. In a forked child every call fails with kDeviceUnavailable
// and touches nothing; there the object must not be destroyed.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>

#include "device/recovery.hpp"
#include "matmul/activations.hpp"
#include "matmul/npu_lane.hpp"
#include "system/process.hpp"
#include "system/thread_pool.hpp"

namespace rknpu2 {

struct NpuResources {
    // `own_coherency` null: owner.
    NpuResources(std::unique_ptr<NpuRuntime> own_runtime, const Config& settings, Counters& counts,
                 std::unique_ptr<Coherency> own_coherency);
    ~NpuResources();

    // Fails in a forked child, and says why.
    Status check_process() const;
    // Threads of the pool that compute for the CPU at a time.
    size_t cpu_team() const;

    // With the mutex held:
    Recovery recovery() { return {config, counters.faults, fault_lines}; }
    // Work areas and contexts that are asked for from now on stay until the next call begins.
    void begin_call();
    // For flows and attention; the first one makes it.
    NpuLane& get_lane();
    // Drops what calls can make again: contexts, work areas, quantised activations.
    void drop_all();

    const OwnerProcess owner;
    const std::unique_ptr<NpuRuntime> runtime;
    const Config config;
    Counters& counters;
    const std::unique_ptr<Coherency> coherency;
    ThreadPool pool;
    std::unique_ptr<DeviceLock> lock;     // keeps other processes from the NPU; null: nothing does
    std::atomic<uint64_t> given_back{0};  // how often weights have given memory back

    std::mutex mutex;  // guards what follows
    DeviceMemoryPool memory;
    ContextCache contexts;
    ContextLimit context_limit;
    WorkAreas areas;
    ActivationStore activations;
    std::unique_ptr<NpuLane> lane;  // get_lane()
    RateLimit fault_lines;
};

// Multiplies by a weight as it is stored, on the CPU, with sums in float64: out[m * N + n] = sum over k of
// a[m * K + k] * weight[n][k], m < M. Counts nothing but the time. Thread safe.
Status multiply_stored(NpuResources& npu, const WeightSource& source, const float* a, size_t M, float* out);

// As multiply_stored(), after a failure of the NPU or of packing, and counted among the faults.
Status multiply_after_fault(NpuResources& npu, const WeightSource& source, const float* a, size_t M,
                            float* out);

}  // namespace rknpu2
