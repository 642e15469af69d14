// SPDX-License-Identifier: MIT
// One small product, whose operands are written, made visible and read in the way that is being looked at
// while everything else is done in every way at once.
//
// A cache is stale by chance: what was written may have been evicted before the NPU looks. So a trial is made
// at many places and several times, each time with other values, and what counts is whether all were right.
// All elements of an operand are equal, hence all results: one old line changes every sum that it is in.
#include <algorithm>
#include <cstring>

#include "doctor_reading.hpp"

namespace rknpu2 {
namespace {

using LineOperation = CacheLines::Operation;

constexpr size_t kLargerThanAnyCache = size_t{8} << 20;  // an RK3588 has 3 MiB in all
constexpr size_t kM = 4, kK = 1024, kN = 64;             // A: 4 KiB, B: 64 KiB, C: 1 KiB

size_t bytes_of(Operand operand) {
    if (operand == Operand::kActivations) return kM * kK;
    if (operand == Operand::kWeights) return kK * kN;
    return kM * kN * sizeof(int32_t);
}

void fill(NpuMemory& memory, int value) {
    std::memset(memory.data(), value, memory.size());
}

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
    const char* probe;   // its id
    const char* figure;  // the name of what it counts
    Question question;
    Operand operand;  // that is looked at: of kReadBack and kKept the result
    Place place;
    Way way;
};

class CoherencyTrials {
  public:
    explicit CoherencyTrials(Bench& bench) : bench_(bench), lines_(bench.runtime.cache_lines()) {}

    Status make() {
        lender_ = RKNPU2_TAKE(bench_.runtime.create_context({.K = 64, .N = 64, .rows = {1}}));
        context_ = RKNPU2_TAKE(bench_.runtime.create_context({.K = kK, .N = kN, .rows = {kM}}));
        RKNPU2_RETURN_IF_ERROR(context_->select_rows(0));
        a_.resize(1), b_.resize(1), c_.resize(1);
        RKNPU2_RETURN_IF_ERROR(make_spots(Operand::kActivations, Place::kOwn, a_));
        RKNPU2_RETURN_IF_ERROR(make_spots(Operand::kWeights, Place::kOwn, b_));
        RKNPU2_RETURN_IF_ERROR(make_spots(Operand::kResult, Place::kOwn, c_));
        fill(*c_[0].memory, 0);
        return surely(c_[0], true);
    }

    // kUnsupported when there is no such place or way here.
    Result<Figure> count(const Trial& trial) {
        const size_t places = bench_.quick || trial.operand == Operand::kWeights ? 4 : 16;
        std::vector<Spot> spots(places);
        RKNPU2_RETURN_IF_ERROR(make_spots(trial.operand, trial.place, spots));
        const size_t total = places * (bench_.quick ? 2 : 4);
        size_t count = 0;
        for (size_t i = 0; i < total; ++i) {
            const int before = 1 + static_cast<int>(i % 50);
            const bool right = RKNPU2_TAKE(is_right(trial, spots[i % places], before, before + 60));
            count += right ? 1 : 0;
        }
        return Figure{trial.figure, static_cast<double>(count), static_cast<double>(total), ""};
    }

  private:
    struct Spot {
        std::unique_ptr<NpuMemory> memory;  // what is bound
        NpuMemory* owner = nullptr;         // what rknn_create_mem gave; null: never to be synced
    };

    Status bind(Operand operand, Spot& spot) { return context_->bind(operand, *spot.memory); }

    Status make_spots(Operand operand, Place place, std::vector<Spot>& spots) {
        const size_t bytes = bytes_of(operand);
        const size_t apart = round_up(bytes, kSliceAlign);
        if (place == Place::kSlice) {  // nothing at the front: an offset that is ignored is seen
            slab_ = RKNPU2_TAKE(lender_->allocate(kSliceAlign + spots.size() * apart));
            fill(*slab_, 0);
        }
        for (size_t i = 0; i < spots.size(); ++i) {
            const size_t offset = kSliceAlign + i * apart;
            spots[i].memory =
                RKNPU2_TAKE(place == Place::kOwn            ? lender_->allocate(bytes)
                            : place == Place::kNonCacheable ? context_->allocate_non_cacheable(bytes)
                                                            : context_->import_slice(*slab_, offset, bytes));
            if (place == Place::kOwn) spots[i].owner = spots[i].memory.get();
            if (place == Place::kSlice) spots[i].owner = slab_.get();
        }
        return {};
    }

    // Keeps the CPU's cache in step: after the CPU has written (`to` the device), or before it reads.
    Status keep(Spot& spot, Way way, bool to, Operand operand) {
        NpuMemory& memory = *spot.memory;
        switch (way) {
            case Way::kNothing:
                return {};
            case Way::kBind:
                return bind(operand, spot);
            case Way::kSync:
                return to ? context_->sync_to_device(memory) : context_->sync_from_device(memory);
            case Way::kOwner:
                return to ? lender_->sync_to_device(*spot.owner) : lender_->sync_from_device(*spot.owner);
            case Way::kLines:
                return lines_.apply(to ? LineOperation::kClean : LineOperation::kCleanAndInvalidate,
                                    memory.data(), memory.size());
        }
        return {};
    }

    // In every way.
    Status surely(Spot& spot, bool to) {
        if (spot.owner == nullptr) return {};
        RKNPU2_RETURN_IF_ERROR(keep(spot, Way::kOwner, to, Operand::kResult));
        return lines_.available() ? keep(spot, Way::kLines, to, Operand::kResult) : Status();
    }

    Status set(Operand operand, Spot& spot, int value) {
        fill(*spot.memory, value);
        RKNPU2_RETURN_IF_ERROR(surely(spot, true));
        return bind(operand, spot);
    }

    // The result is `value` times K.
    Status run_with(int value) {
        RKNPU2_RETURN_IF_ERROR(set(Operand::kActivations, a_[0], value));
        RKNPU2_RETURN_IF_ERROR(set(Operand::kWeights, b_[0], 1));
        return context_->run();
    }

    bool result_is(const Spot& spot, int value) const {
        const auto expected = static_cast<int32_t>(kK) * value;
        const auto* const results = reinterpret_cast<const int32_t*>(spot.memory->data());
        return std::all_of(results, results + kM * kN, [&](int32_t result) { return result == expected; });
    }

    // Whatever the CPU's cache holds goes to memory, since other things take its place.
    void evict() {
        other_memory_.resize(kLargerThanAnyCache);
        std::memset(other_memory_.data(), static_cast<int>(other_memory_[0]) + 1, other_memory_.size());
    }

    Result<bool> is_right(const Trial& trial, Spot& spot, int before, int after) {
        switch (trial.question) {
            case Question::kWritten: {
                const bool weights = trial.operand == Operand::kWeights;
                RKNPU2_RETURN_IF_ERROR(weights ? set(Operand::kActivations, a_[0], 1)
                                               : set(Operand::kWeights, b_[0], 1));
                RKNPU2_RETURN_IF_ERROR(bind(Operand::kResult, c_[0]));
                RKNPU2_RETURN_IF_ERROR(set(trial.operand, spot, before));
                RKNPU2_RETURN_IF_ERROR(context_->run());
                fill(*spot.memory, after);
                RKNPU2_RETURN_IF_ERROR(keep(spot, trial.way, true, trial.operand));
                RKNPU2_RETURN_IF_ERROR(context_->run());
                RKNPU2_RETURN_IF_ERROR(surely(c_[0], false));
                return result_is(c_[0], after);
            }
            case Question::kReadBack: {
                // Nothing that the CPU wrote is left in its cache.
                RKNPU2_RETURN_IF_ERROR(surely(spot, true));
                RKNPU2_RETURN_IF_ERROR(bind(Operand::kResult, spot));
                RKNPU2_RETURN_IF_ERROR(run_with(before));
                RKNPU2_RETURN_IF_ERROR(surely(spot, false));
                const bool read = result_is(spot, before);  // into the cache
                RKNPU2_RETURN_IF_ERROR(run_with(after));
                RKNPU2_RETURN_IF_ERROR(keep(spot, trial.way, false, Operand::kResult));
                return read && result_is(spot, after);
            }
            case Question::kKept:
                RKNPU2_RETURN_IF_ERROR(bind(Operand::kResult, spot));
                fill(*spot.memory, kPattern);
                RKNPU2_RETURN_IF_ERROR(keep(spot, trial.way, true, Operand::kResult));
                RKNPU2_RETURN_IF_ERROR(run_with(before));
                evict();
                RKNPU2_RETURN_IF_ERROR(keep(spot, Way::kOwner, false, Operand::kResult));
                return result_is(spot, before);
        }
        return false;
    }

    Bench& bench_;
    const CacheLines lines_;
    std::unique_ptr<NpuContext> lender_, context_;
    std::unique_ptr<NpuMemory> slab_;
    std::vector<Spot> a_, b_, c_;  // one each, for what is not looked at
    std::vector<char> other_memory_;
};

// A probe answers `yes` when all of its trials were right: without a control, those that did nothing, and with
// one all others.
struct Answers {
    const char *probe, *yes, *no;
};
constexpr Answers kAnswers[] = {
    {"owner-sync", "works", "does nothing"},
    {"slab-sync", "works", "does nothing"},
    {"import-sync", "works", "does nothing"},
    {"bind-cleans", "cleans", "leaves the cache as it is"},
    {"cache-lines", "work", "do nothing"},
    {"results-visible", "visible", "old until synced"},
    {"dirty-lines", "harmless", "overwrite results"},
    {"non-cacheable", "coherent", "old"},
};

// A probe's control comes first.
std::vector<Trial> trials_of(const std::string& probe) {
    using enum Question;
    using enum Operand;
    using enum Place;
    using enum Way;
    constexpr Trial kTrials[] = {
        {"owner-sync", kNothingDone, kWritten, kActivations, kOwn, kNothing},
        {"owner-sync", "activations", kWritten, kActivations, kOwn, kSync},
        {"owner-sync", "results", kReadBack, kResult, kOwn, kSync},
        {"slab-sync", kNothingDone, kWritten, kWeights, kSlice, kNothing},
        {"slab-sync", "weights", kWritten, kWeights, kSlice, kOwner},
        {"import-sync", kNothingDone, kWritten, kActivations, kSlice, kNothing},
        {"import-sync", "activations", kWritten, kActivations, kSlice, kSync},
        {"import-sync", "results", kReadBack, kResult, kSlice, kSync},
        {"bind-cleans", kNothingDone, kWritten, kActivations, kOwn, kNothing},
        {"bind-cleans", "activations", kWritten, kActivations, kOwn, kBind},
        {"bind-cleans", "activations in slices", kWritten, kActivations, kSlice, kBind},
        {"bind-cleans", "weights in slices", kWritten, kWeights, kSlice, kBind},
        {"cache-lines", kNothingDone, kWritten, kActivations, kOwn, kNothing},
        {"cache-lines", "activations", kWritten, kActivations, kOwn, kLines},
        {"cache-lines", "weights", kWritten, kWeights, kSlice, kLines},
        {"cache-lines", "results", kReadBack, kResult, kOwn, kLines},
        {"results-visible", "results", kReadBack, kResult, kOwn, kNothing},
        {"results-visible", "results in slices", kReadBack, kResult, kSlice, kNothing},
        {"dirty-lines", "results over memory as the CPU left it", kKept, kResult, kOwn, kNothing},
        {"dirty-lines", kCleanedWhole, kKept, kResult, kOwn, kOwner},
        {"dirty-lines", kCleanedLines, kKept, kResult, kOwn, kLines},
        {"non-cacheable", "activations", kWritten, kActivations, kNonCacheable, kNothing},
        {"non-cacheable", "results", kReadBack, kResult, kNonCacheable, kNothing},
    };
    std::vector<Trial> trials;
    std::ranges::copy_if(kTrials, std::back_inserter(trials),
                         [&](const Trial& trial) { return trial.probe == probe; });
    return trials;
}

}  // namespace

Status probe_cache(Bench& bench, Reading& reading) {
    const std::vector<Trial> all = trials_of(reading.id);
    const bool has_control = all.front().figure == kNothingDone;
    CoherencyTrials trials(bench);
    RKNPU2_RETURN_IF_ERROR(trials.make());
    bool right = true;
    for (const Trial& trial : all) {
        const Result<Figure> count = trials.count(trial);
        const bool may_be_missing = trial.way == Way::kLines || trial.place == Place::kNonCacheable;
        if (may_be_missing && count.status().code() == StatusCode::kUnsupported) continue;
        RKNPU2_RETURN_IF_ERROR(count.status().with_context(trial.figure));
        reading.figures.push_back(count.value());
        if (has_control != (trial.way == Way::kNothing)) right = right && reading.figures.back().all();
    }
    const Answers& answers = *std::ranges::find(kAnswers, reading.id, &Answers::probe);
    reading.answer = right ? answers.yes : answers.no;
    const Figure* const control = reading.find(kNothingDone);
    if (right && control != nullptr && control->all())
        reading.answer = "cannot be told: nothing was ever old";
    if (reading.figures.size() == (has_control ? 1 : 0)) {
        reading.figures.clear();
        reading.answer = "not to be had here";
    }
    return {};
}

}  // namespace rknpu2
