// SPDX-License-Identifier: MIT
#include "runs/bound_run.hpp"

#include <utility>

#include "base/format.hpp"

namespace rknpu2 {
namespace {

template <typename Body>
Status attempt(const BoundRun& run, const Body& body) {
    if (!run.context->failure().ok()) return run.context->failure();
    const ContextKey& key = run.context->key();
    Status status;
    try {
        status = body();
        if (status.ok()) return status;
        status = std::move(status).with_context(
            format("M=%zu K=%zu N=%zu on core %d", run.written.rows, key.K, key.N, key.core));
    } catch (...) {
        status = Status::of_exception();
    }
    run.context->fail(status);
    return status;
}

}  // namespace

ContextKey context_key(const PackedWeight& weight, const Run& run) {
    const WeightPlan& plan = weight.plan;
    return {plan.recipe.arithmetic, plan.segments[run.segment].K_padded, run.N, static_cast<int>(run.core),
            weight.domain()};
}

Result<Slice> result_area(WorkAreas& areas, const PackedWeight& weight, const Run& run, size_t bucket,
                          size_t index) {
    const DType type = result_type(weight.plan.recipe.arithmetic);
    return areas.result(weight.domain(), index, dtype_bytes(type, row_buckets()[bucket] * run.N));
}

Result<BoundRun> bind_run(WorkAreas& areas, CachedContext& context, const PackedWeight& weight,
                          const Run& run, size_t bucket, size_t cube, const Slice& activations,
                          size_t index) {
    const Slice result = RKNPU2_TAKE(result_area(areas, weight, run, bucket, index));
    const Result<View> a = context.view(Operand::kActivations, bucket, activations, activations.bytes);
    const Result<View> b = context.view(Operand::kWeights, bucket, run.weights, run.weight_bytes);
    const Result<View> c = context.view(Operand::kResult, bucket, result, result.bytes);
    for (const Result<View>* view : {&a, &b, &c})
        RKNPU2_RETURN_IF_ERROR(view->status());
    return BoundRun{
        &context, bucket, cube, a.value(), b.value(), c.value(), {result.data(), row_buckets()[bucket]}};
}

Status tell(const BoundRun& run) {
    return attempt(run, [&] { return run.context->activations_written(run.activations); });
}

Status execute(const BoundRun& run, Counters& counters) {
    const PhaseTimer timer(counters, Phase::kNpu);
    return attempt(run, [&] {
        Status status = run.context->prepare(run.bucket, run.activations, run.weights, run.result);
        ++counters.runs;
        if (run.context->key().set == ContextKey::kAttention) ++counters.attention.runs;
        if (status.ok()) {
            counters.weight_bytes += run.weights.bytes;
            counters.result_bytes += run.result.bytes;
            status = run.context->run();
        }
        if (!status.ok()) ++counters.faults.failed_runs;
        return status;
    });
}

}  // namespace rknpu2
