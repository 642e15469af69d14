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
#include <vector>

#include "base/status.hpp"
#include "doctor_measure.hpp"
#include "runtime/npu_runtime.hpp"

namespace rknpu2 {

enum class Question {
    kWritten,   // does the device see an operand that the CPU has changed since the last run?
    kReadBack,  // does the CPU see the result of a run, when it had read an older one there?
    kKept,      // is a result kept in memory that the CPU had written to?
};

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

struct Trial {
    const char* figure;  // the name of what it counts
    Question question;
    Operand operand;  // that is looked at: of kReadBack and kKept the result
    Place place;
    Way way;
};

struct Count {
    size_t right = 0, of = 0;
};

class CoherencyTrials {
  public:
    static constexpr size_t kM = 4, kK = 1024, kN = 64;  // A: 4 KiB, B: 64 KiB, C: 1 KiB

    explicit CoherencyTrials(Bench& bench);
    Status make();

    // kUnsupported when there is no such place or way here.
    Result<Count> count(const Trial& trial);

  private:
    struct Spot {
        std::unique_ptr<NpuMemory> memory;  // what is bound
        NpuMemory* owner = nullptr;         // what rknn_create_mem gave; null: never to be synced
    };

    Status make_spots(Operand operand, Place place, std::vector<Spot>& spots);
    Result<bool> is_right(const Trial& trial, Spot& spot, int before, int after);
    Status to_device(Spot& spot, Way way, Operand operand);
    Status from_device(Spot& spot, Way way);
    // In every way.
    Status surely_to_device(Spot& spot);
    Status surely_from_device(Spot& spot);
    Status lines(Spot& spot, CacheLines::Operation operation);
    Status bind(Operand operand, Spot& spot) { return context_->bind(operand, *spot.memory); }
    Status set(Operand operand, Spot& spot, int value);
    Status run_with(int value);
    bool result_is(const Spot& spot, int value) const;
    void evict();

    Bench& bench_;
    const CacheLines lines_;
    std::unique_ptr<NpuContext> lender_, context_;
    std::unique_ptr<NpuMemory> slab_;
    std::vector<Spot> a_, b_, c_;  // one each, for what is not looked at
    std::vector<char> other_memory_;
};

}  // namespace rknpu2
