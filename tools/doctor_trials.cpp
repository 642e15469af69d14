// SPDX-License-Identifier: MIT
#include "doctor_trials.hpp"

#include <algorithm>
#include <cstring>

namespace rknpu2 {
namespace {

using LineOperation = CacheLines::Operation;

constexpr size_t kSliceAlign = 4096;
constexpr size_t kLargerThanAnyCache = size_t{8} << 20;  // an RK3588 has 3 MiB in all
constexpr int kPattern = 0x55;

size_t bytes_of(Operand operand) {
    if (operand == Operand::kActivations) return CoherencyTrials::kM * CoherencyTrials::kK;
    if (operand == Operand::kWeights) return CoherencyTrials::kK * CoherencyTrials::kN;
    return CoherencyTrials::kM * CoherencyTrials::kN * sizeof(int32_t);
}

void fill(NpuMemory& memory, int value) {
    std::memset(memory.data(), value, memory.size());
}

}  // namespace

CoherencyTrials::CoherencyTrials(Bench& bench) : bench_(bench), lines_(bench.runtime.cache_lines()) {}

Status CoherencyTrials::make() {
    Result<std::unique_ptr<NpuContext>> lender =
        bench_.runtime.create_context({.K = 64, .N = 64, .rows = {1}});
    RKNPU2_RETURN_IF_ERROR(lender.status());
    lender_ = lender.take();
    Result<std::unique_ptr<NpuContext>> context =
        bench_.runtime.create_context({.K = kK, .N = kN, .rows = {kM}});
    RKNPU2_RETURN_IF_ERROR(context.status());
    context_ = context.take();
    RKNPU2_RETURN_IF_ERROR(context_->select_rows(0));
    a_.resize(1), b_.resize(1), c_.resize(1);
    RKNPU2_RETURN_IF_ERROR(make_spots(Operand::kActivations, Place::kOwn, a_));
    RKNPU2_RETURN_IF_ERROR(make_spots(Operand::kWeights, Place::kOwn, b_));
    RKNPU2_RETURN_IF_ERROR(make_spots(Operand::kResult, Place::kOwn, c_));
    fill(*c_[0].memory, 0);
    return surely_to_device(c_[0]);
}

Status CoherencyTrials::make_spots(Operand operand, Place place, std::vector<Spot>& spots) {
    const size_t bytes = bytes_of(operand);
    const size_t apart = round_up(bytes, kSliceAlign);
    if (place == Place::kSlice) {  // nothing at the front: an offset that is ignored is seen
        Result<std::unique_ptr<NpuMemory>> slab = lender_->allocate(kSliceAlign + spots.size() * apart);
        RKNPU2_RETURN_IF_ERROR(slab.status());
        slab_ = slab.take();
        fill(*slab_, 0);
    }
    for (size_t i = 0; i < spots.size(); ++i) {
        Result<std::unique_ptr<NpuMemory>> memory =
            place == Place::kOwn            ? lender_->allocate(bytes)
            : place == Place::kNonCacheable ? context_->allocate_non_cacheable(bytes)
                                            : context_->import_slice(*slab_, kSliceAlign + i * apart, bytes);
        RKNPU2_RETURN_IF_ERROR(memory.status());
        spots[i].memory = memory.take();
        if (place == Place::kOwn) spots[i].owner = spots[i].memory.get();
        if (place == Place::kSlice) spots[i].owner = slab_.get();
    }
    return {};
}

Status CoherencyTrials::lines(Spot& spot, LineOperation operation) {
    return lines_.apply(operation, spot.memory->data(), spot.memory->size());
}

Status CoherencyTrials::surely_to_device(Spot& spot) {
    if (spot.owner == nullptr) return {};
    RKNPU2_RETURN_IF_ERROR(lender_->sync_to_device(*spot.owner));
    return lines_.available() ? lines(spot, LineOperation::kClean) : Status();
}

Status CoherencyTrials::surely_from_device(Spot& spot) {
    if (spot.owner == nullptr) return {};
    RKNPU2_RETURN_IF_ERROR(lender_->sync_from_device(*spot.owner));
    return lines_.available() ? lines(spot, LineOperation::kCleanAndInvalidate) : Status();
}

Status CoherencyTrials::to_device(Spot& spot, Way way, Operand operand) {
    if (way == Way::kBind) return bind(operand, spot);
    if (way == Way::kSync) return context_->sync_to_device(*spot.memory);
    if (way == Way::kOwner) return lender_->sync_to_device(*spot.owner);
    return way == Way::kLines ? lines(spot, LineOperation::kClean) : Status();
}

Status CoherencyTrials::from_device(Spot& spot, Way way) {
    if (way == Way::kSync) return context_->sync_from_device(*spot.memory);
    return way == Way::kLines ? lines(spot, LineOperation::kCleanAndInvalidate) : Status();
}

Status CoherencyTrials::set(Operand operand, Spot& spot, int value) {
    fill(*spot.memory, value);
    RKNPU2_RETURN_IF_ERROR(surely_to_device(spot));
    return bind(operand, spot);
}

// The result is `value` times K.
Status CoherencyTrials::run_with(int value) {
    RKNPU2_RETURN_IF_ERROR(set(Operand::kActivations, a_[0], value));
    RKNPU2_RETURN_IF_ERROR(set(Operand::kWeights, b_[0], 1));
    return context_->run();
}

bool CoherencyTrials::result_is(const Spot& spot, int value) const {
    const auto expected = static_cast<int32_t>(kK) * value;
    const auto* const results = reinterpret_cast<const int32_t*>(spot.memory->data());
    return std::all_of(results, results + kM * kN, [&](int32_t result) { return result == expected; });
}

Result<bool> CoherencyTrials::is_right(const Trial& trial, Spot& spot, int before, int after) {
    switch (trial.question) {
        case Question::kWritten: {
            const bool weights = trial.operand == Operand::kWeights;
            RKNPU2_RETURN_IF_ERROR(weights ? set(Operand::kActivations, a_[0], 1)
                                           : set(Operand::kWeights, b_[0], 1));
            RKNPU2_RETURN_IF_ERROR(bind(Operand::kResult, c_[0]));
            RKNPU2_RETURN_IF_ERROR(set(trial.operand, spot, before));
            RKNPU2_RETURN_IF_ERROR(context_->run());
            fill(*spot.memory, after);
            RKNPU2_RETURN_IF_ERROR(to_device(spot, trial.way, trial.operand));
            RKNPU2_RETURN_IF_ERROR(context_->run());
            RKNPU2_RETURN_IF_ERROR(surely_from_device(c_[0]));
            return result_is(c_[0], after);
        }
        case Question::kReadBack: {
            // Nothing that the CPU wrote is left in its cache.
            RKNPU2_RETURN_IF_ERROR(surely_to_device(spot));
            RKNPU2_RETURN_IF_ERROR(bind(Operand::kResult, spot));
            RKNPU2_RETURN_IF_ERROR(run_with(before));
            RKNPU2_RETURN_IF_ERROR(surely_from_device(spot));
            const bool read = result_is(spot, before);  // into the cache
            RKNPU2_RETURN_IF_ERROR(run_with(after));
            RKNPU2_RETURN_IF_ERROR(from_device(spot, trial.way));
            return read && result_is(spot, after);
        }
        case Question::kKept:
            RKNPU2_RETURN_IF_ERROR(bind(Operand::kResult, spot));
            fill(*spot.memory, kPattern);
            RKNPU2_RETURN_IF_ERROR(to_device(spot, trial.way, Operand::kResult));
            RKNPU2_RETURN_IF_ERROR(run_with(before));
            evict();
            RKNPU2_RETURN_IF_ERROR(lender_->sync_from_device(*spot.owner));
            return result_is(spot, before);
    }
    return false;
}

Result<Count> CoherencyTrials::count(const Trial& trial) {
    const size_t places = bench_.quick || trial.operand == Operand::kWeights ? 4 : 16;
    std::vector<Spot> spots(places);
    RKNPU2_RETURN_IF_ERROR(make_spots(trial.operand, trial.place, spots));
    Count count;
    for (const size_t total = places * (bench_.quick ? 2 : 4); count.of < total; ++count.of) {
        const int before = 1 + static_cast<int>(count.of % 50);
        const Result<bool> right = is_right(trial, spots[count.of % places], before, before + 60);
        RKNPU2_RETURN_IF_ERROR(right.status());
        count.right += right.value() ? 1 : 0;
    }
    return count;
}

// Whatever the CPU's cache holds goes to memory, since other things take its place.
void CoherencyTrials::evict() {
    other_memory_.resize(kLargerThanAnyCache);
    std::memset(other_memory_.data(), static_cast<int>(other_memory_[0]) + 1, other_memory_.size());
}

}  // namespace rknpu2
