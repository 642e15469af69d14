// SPDX-License-Identifier: MIT
#include "doctor_trials.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

namespace rknpu2 {
namespace {

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

CoherencyTrials::CoherencyTrials(ProbeBench& bench)
    : bench_(bench),
      lines_(bench.runtime.cache_lines()),
      places_(bench.quick ? 4 : 16),
      repeats_(bench.quick ? 2 : 4) {}

Status CoherencyTrials::make() {
    ContextSpec spec;
    spec.K = spec.N = 64;
    spec.rows = {1};
    Result<std::unique_ptr<NpuContext>> lender = bench_.runtime.create_context(spec);
    RKNPU2_RETURN_IF_ERROR(lender.status());
    lender_ = lender.take();
    spec.K = kK;
    spec.N = kN;
    spec.rows = {kM};
    Result<std::unique_ptr<NpuContext>> context = bench_.runtime.create_context(spec);
    RKNPU2_RETURN_IF_ERROR(context.status());
    context_ = context.take();
    RKNPU2_RETURN_IF_ERROR(context_->select_rows(0));
    const size_t places = std::exchange(places_, 1);
    for (const auto& [operand, spots] :
         {std::pair(Operand::kActivations, &a_), std::pair(Operand::kWeights, &b_),
          std::pair(Operand::kResult, &c_)}) {
        Result<std::vector<Spot>> made = make_spots(operand, Place::kOwn);
        RKNPU2_RETURN_IF_ERROR(made.status());
        *spots = made.take();
        fill(*(*spots)[0].memory, 0);
        RKNPU2_RETURN_IF_ERROR(surely_to_device((*spots)[0]));
    }
    places_ = places;
    return {};
}

Result<std::vector<CoherencyTrials::Spot>> CoherencyTrials::make_spots(Operand operand, Place place) {
    const size_t bytes = bytes_of(operand);
    std::vector<Spot> spots(operand == Operand::kWeights ? std::min<size_t>(places_, 4) : places_);
    if (place == Place::kSlice) {  // nothing at the front: an offset that is ignored is seen
        Result<std::unique_ptr<NpuMemory>> slab =
            lender_->allocate(kSliceAlign + spots.size() * round_up(bytes, kSliceAlign));
        RKNPU2_RETURN_IF_ERROR(slab.status());
        slab_ = slab.take();
        fill(*slab_, 0);
    }
    for (size_t i = 0; i < spots.size(); ++i) {
        Result<std::unique_ptr<NpuMemory>> memory =
            place == Place::kOwn ? lender_->allocate(bytes)
            : place == Place::kNonCacheable
                ? context_->allocate_non_cacheable(bytes)
                : context_->import_slice(*slab_, kSliceAlign + i * round_up(bytes, kSliceAlign), bytes);
        RKNPU2_RETURN_IF_ERROR(memory.status());
        spots[i].memory = memory.take();
        if (place == Place::kOwn) spots[i].owner = spots[i].memory.get();
        if (place == Place::kSlice) spots[i].owner = slab_.get();
    }
    return spots;
}

Status CoherencyTrials::surely_to_device(Spot& spot) {
    if (spot.owner == nullptr) return {};
    RKNPU2_RETURN_IF_ERROR(lender_->sync_to_device(*spot.owner));
    if (!has_lines()) return {};
    return lines_.apply(CacheLines::Operation::kClean, spot.memory->data(), spot.memory->size());
}

Status CoherencyTrials::surely_from_device(Spot& spot) {
    if (spot.owner == nullptr) return {};
    RKNPU2_RETURN_IF_ERROR(lender_->sync_from_device(*spot.owner));
    if (!has_lines()) return {};
    return lines_.apply(CacheLines::Operation::kCleanAndInvalidate, spot.memory->data(), spot.memory->size());
}

Status CoherencyTrials::to_device(Spot& spot, Way way, Operand operand) {
    switch (way) {
        case Way::kNothing:
            return {};
        case Way::kBind:
            return bind(operand, spot);
        case Way::kSync:
            return context_->sync_to_device(*spot.memory);
        case Way::kOwner:
            return lender_->sync_to_device(*spot.owner);
        case Way::kLines:
            return lines_.apply(CacheLines::Operation::kClean, spot.memory->data(), spot.memory->size());
    }
    return {};
}

Status CoherencyTrials::from_device(Spot& spot, Way way) {
    if (way == Way::kSync) return context_->sync_from_device(*spot.memory);
    if (way == Way::kOwner) return lender_->sync_from_device(*spot.owner);
    if (way == Way::kLines) {
        return lines_.apply(CacheLines::Operation::kCleanAndInvalidate, spot.memory->data(),
                            spot.memory->size());
    }
    return {};
}

// Activations and weights of a_ and b_ get these values, and the product is made.
Status CoherencyTrials::run_with(int a, int b) {
    fill(*a_[0].memory, a);
    RKNPU2_RETURN_IF_ERROR(surely_to_device(a_[0]));
    fill(*b_[0].memory, b);
    RKNPU2_RETURN_IF_ERROR(surely_to_device(b_[0]));
    RKNPU2_RETURN_IF_ERROR(bind(Operand::kActivations, a_[0]));
    RKNPU2_RETURN_IF_ERROR(bind(Operand::kWeights, b_[0]));
    return context_->run();
}

bool CoherencyTrials::result_is(const Spot& spot, int a, int b) const {
    const auto expected = static_cast<int32_t>(kK) * a * b;
    const auto* const results = reinterpret_cast<const int32_t*>(spot.memory->data());
    return std::all_of(results, results + kM * kN, [&](int32_t result) { return result == expected; });
}

Result<Count> CoherencyTrials::written(Operand operand, Place place, Way way) {
    Result<std::vector<Spot>> made = make_spots(operand, place);
    RKNPU2_RETURN_IF_ERROR(made.status());
    const bool weights = operand == Operand::kWeights;
    const int other = 1;
    Spot& fixed = weights ? a_[0] : b_[0];
    fill(*fixed.memory, other);
    RKNPU2_RETURN_IF_ERROR(surely_to_device(fixed));
    RKNPU2_RETURN_IF_ERROR(bind(weights ? Operand::kActivations : Operand::kWeights, fixed));
    RKNPU2_RETURN_IF_ERROR(bind(Operand::kResult, c_[0]));
    Count count;
    for (size_t repeat = 0; repeat < repeats_; ++repeat) {
        for (Spot& spot : made.value()) {
            const int before = 1 + static_cast<int>(count.of % 50);
            const int after = before + 60;
            fill(*spot.memory, before);
            RKNPU2_RETURN_IF_ERROR(surely_to_device(spot));
            RKNPU2_RETURN_IF_ERROR(bind(operand, spot));
            RKNPU2_RETURN_IF_ERROR(context_->run());
            fill(*spot.memory, after);
            RKNPU2_RETURN_IF_ERROR(to_device(spot, way, operand));
            RKNPU2_RETURN_IF_ERROR(context_->run());
            RKNPU2_RETURN_IF_ERROR(surely_from_device(c_[0]));
            ++count.of;
            if (result_is(c_[0], after, other)) ++count.right;
        }
    }
    return count;
}

Result<Count> CoherencyTrials::read_back(Place place, Way way) {
    Result<std::vector<Spot>> made = make_spots(Operand::kResult, place);
    RKNPU2_RETURN_IF_ERROR(made.status());
    Count count;
    for (size_t repeat = 0; repeat < repeats_; ++repeat) {
        for (Spot& spot : made.value()) {
            const int before = 1 + static_cast<int>(count.of % 50);
            const int after = before + 60;
            RKNPU2_RETURN_IF_ERROR(
                surely_to_device(spot));  // nothing that the CPU wrote is left in its cache
            RKNPU2_RETURN_IF_ERROR(bind(Operand::kResult, spot));
            RKNPU2_RETURN_IF_ERROR(run_with(before, 1));
            RKNPU2_RETURN_IF_ERROR(surely_from_device(spot));
            const bool read = result_is(spot, before, 1);  // into the cache
            RKNPU2_RETURN_IF_ERROR(run_with(after, 1));
            RKNPU2_RETURN_IF_ERROR(from_device(spot, way));
            ++count.of;
            if (read && result_is(spot, after, 1)) ++count.right;
        }
    }
    return count;
}

Result<Count> CoherencyTrials::kept(Way way) {
    Result<std::vector<Spot>> made = make_spots(Operand::kResult, Place::kOwn);
    RKNPU2_RETURN_IF_ERROR(made.status());
    Count count;
    for (size_t repeat = 0; repeat < repeats_; ++repeat) {
        for (Spot& spot : made.value()) {
            const int value = 1 + static_cast<int>(count.of % 100);
            RKNPU2_RETURN_IF_ERROR(bind(Operand::kResult, spot));
            fill(*spot.memory, kPattern);
            RKNPU2_RETURN_IF_ERROR(to_device(spot, way, Operand::kResult));
            RKNPU2_RETURN_IF_ERROR(run_with(value, 1));
            evict();
            RKNPU2_RETURN_IF_ERROR(lender_->sync_from_device(*spot.owner));
            ++count.of;
            if (result_is(spot, value, 1)) ++count.right;
        }
    }
    return count;
}

// Whatever the CPU's cache holds goes to memory, since other things take its place.
void CoherencyTrials::evict() {
    other_memory_.resize(kLargerThanAnyCache);
    std::memset(other_memory_.data(), static_cast<int>(other_memory_[0]) + 1, other_memory_.size());
}

}  // namespace rknpu2
