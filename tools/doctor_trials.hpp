// SPDX-License-Identifier: MIT
// One small product, whose operands are written, made visible and read in the way that is being looked at
// while everything else is done in every way at once.
//
// A cache is stale by chance: what was written may have been evicted before the NPU looks. So a trial is made
// at many places and several times, each time with other values, and what counts is whether all were right.
// All elements of an operand are equal, hence all results: one old line changes every sum that it is in.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/status.hpp"
#include "doctor_reading.hpp"
#include "runtime/npu_runtime.hpp"

namespace rknpu2 {

enum class Place {
    kOwn,           // a buffer of rknn_create_mem, of another context of the domain, bound without an import
    kSlice,         // a slice of such a buffer, imported by descriptor
    kNonCacheable,  // rknn_create_mem2
};

// What is done between the CPU's writing and the run, or between the run and the CPU's reading.
enum class Way {
    kNothing,
    kBind,   // bound again
    kSync,   // rknn_mem_sync on the memory that is bound
    kOwner,  // rknn_mem_sync on the buffer that it is part of, as rknn_create_mem gave it
    kLines,  // cache lines, from user space
};

struct Count {
    size_t right = 0, of = 0;
    bool all() const { return of > 0 && right == of; }
};

class CoherencyTrials {
  public:
    static constexpr size_t kM = 4, kK = 1024, kN = 64;  // A: 4 KiB, B: 64 KiB, C: 1 KiB

    explicit CoherencyTrials(ProbeBench& bench);
    Status make();

    bool has_lines() const { return lines_.available(); }

    // Does the device see activations (or weights) that the CPU has changed since the last run?
    Result<Count> written(Operand operand, Place place, Way way);
    // Does the CPU see the result of a run, when it had read an older one there?
    Result<Count> read_back(Place place, Way way);
    // Is a result kept in memory that the CPU had written to, where `way` was done before the run?
    Result<Count> kept(Way way);

  private:
    struct Spot {
        std::unique_ptr<NpuMemory> memory;  // what is bound
        NpuMemory* owner = nullptr;         // what rknn_create_mem gave; null: never to be synced
    };

    Result<std::vector<Spot>> make_spots(Operand operand, Place place);
    Status to_device(Spot& spot, Way way, Operand operand);
    Status from_device(Spot& spot, Way way);
    Status surely_to_device(Spot& spot);
    Status surely_from_device(Spot& spot);
    Status bind(Operand operand, Spot& spot) { return context_->bind(operand, *spot.memory); }
    Status run_with(int a, int b);
    bool result_is(const Spot& spot, int a, int b) const;
    void evict();

    ProbeBench& bench_;
    CacheLines lines_;
    size_t places_ = 0, repeats_ = 0;
    std::unique_ptr<NpuContext> lender_, context_;
    std::unique_ptr<NpuMemory> slab_;
    std::vector<Spot> a_, b_, c_;  // one each, for what is not looked at
    std::vector<char> other_memory_;
};

}  // namespace rknpu2
