// SPDX-License-Identifier: MIT
#include "attention/npu_attention.hpp"

#include <algorithm>

namespace rknpu2 {
namespace {

// Rows of one query area for each of at most so many tokens and heads.
constexpr size_t kMostRowsOfStep = 16384;
constexpr size_t kMostBlockBytes = size_t{256} << 20;
// From the areas of one shape's blocks to those of the next.
constexpr size_t kAreasOfShape = size_t{1} << 16;

}  // namespace

bool NpuAttention::possible(const AttentionProblem& problem) {
    const auto whole_floats = [](size_t bytes) { return bytes % sizeof(float) == 0; };
    if (problem.tokens == 0 || problem.positions == 0 || problem.kv_heads == 0 || problem.heads == 0 ||
        problem.heads % problem.kv_heads != 0 || problem.keys.width == 0 || problem.values.width == 0)
        return false;
    const size_t width = round_up(problem.keys.width, kTileK) + round_up(problem.values.width, kTileK);
    if (problem.keys.width > rk3588::kMaxK || problem.values.width > rk3588::kDocumentedN ||
        problem.kv_heads * width * kAttentionBlock * sizeof(uint16_t) > kMostBlockBytes)
        return false;
    return whole_floats(problem.query_token_bytes) && whole_floats(problem.query_head_bytes) &&
           whole_floats(problem.out_token_bytes) && whole_floats(problem.out_head_bytes);
}

KvCells& NpuAttention::cells_for(const Place& place) {
    for (const auto& cells : cells_)
        if (cells->are_for(place.problem, place.domain)) return *cells;
    const size_t first_area = kAreasOfCells + cells_.size() * kAreasOfShape;
    return *cells_.emplace_back(std::make_unique<KvCells>(npu_, place.problem, place.domain, first_area));
}

void NpuAttention::begin(size_t place, const AttentionProblem& problem, uint64_t layer, int domain,
                         ByCpu by_cpu) {
    Place& at = places_[place];
    at.problem = problem;
    at.layer = layer;
    at.domain = domain;
    at.by_cpu = std::move(by_cpu);
    at.first = at.count = 0;
    begin_part(at);
}

void NpuAttention::begin_part(Place& place) {
    place.first += place.count;
    const size_t most = std::max<size_t>(kMostRowsOfStep / place.problem.heads, 1);
    place.count = std::min(most, place.problem.tokens - place.first);
    place.recovery.emplace(npu_.recovery());
    place.steps.begin(place.problem.part(place.first, place.count), place.layer, place.domain,
                      cells_for(place));
}

Result<bool> NpuAttention::step(size_t place) {
    Place& at = places_[place];
    Status status = at.steps.step();
    if (!status.ok()) {
        RKNPU2_RETURN_IF_ERROR(try_again(at, std::move(status)));
        return true;
    }
    if (!at.steps.is_done()) return true;
    RKNPU2_RETURN_IF_ERROR(compute_by_cpu(at));
    if (at.first + at.count == at.problem.tokens) return false;
    begin_part(at);
    return true;
}

Status NpuAttention::compute_by_cpu(const Place& place) {
    std::vector<size_t> tokens;
    for (size_t token = 0; token < place.count; ++token)
        if (place.steps.for_cpu()[token]) tokens.push_back(place.first + token);
    npu_.counters.attention.tokens_without_halves += tokens.size();
    return npu_.pool.parallel_try(tokens.size(), [&](size_t i) { return place.by_cpu(tokens[i]); });
}

// Contexts that have failed are dropped while nothing runs.
void NpuAttention::stop_all() {
    for (Place& place : places_)
        place.steps.drain();
    stop_others_();
    npu_.contexts.drop_failed(ContextKey::kAttention);
}

// What failed begins again, as far as the setting says; so does what reads the same blocks.
Status NpuAttention::try_again(Place& place, Status failure) {
    const bool refused = place.steps.is_refused();
    stop_all();
    // A lost run may still write into its own.
    const auto drop_results = [&] { npu_.areas.drop_results_from(kAttentionAreas); };
    // A flow's contexts may be gone with them, so all begins anew.
    if (npu_.context_limit.lowered_after(failure, place.problem.name)) {
        drop_results();
        return {StatusCode::kUnsupported, "fewer contexts are kept from now on"};
    }
    const auto reset = [&] {
        npu_.contexts.drop_set(ContextKey::kAttention);
        drop_results();
        for (const auto& cells : cells_)
            cells->forget();
    };
    const bool final =
        failure.code() == StatusCode::kUnsupported || failure.code() == StatusCode::kOutOfMemory;
    if (!final && place.recovery->again_after(failure, place.problem.name, reset)) {
        for (Place& other : places_)
            if (!other.steps.is_done()) other.steps.begin_again();
        return {};
    }
    drop_results();
    const bool by_cpu = place.recovery->wants_cpu();
    if (by_cpu) ++npu_.counters.faults.by_cpu;
    // What the NPU takes no operands for, the CPU computes: nobody has seen a board do it.
    if (by_cpu || (refused && failure.code() != StatusCode::kOutOfMemory))
        return {StatusCode::kUnsupported, failure.to_string()};
    return failure;
}

Status NpuAttention::run(const AttentionProblem& problem, uint64_t layer, int domain, const ByCpu& by_cpu) {
    begin(0, problem, layer, domain, by_cpu);
    while (RKNPU2_TAKE(step(0))) {
    }
    return {};
}

}  // namespace rknpu2
