// SPDX-License-Identifier: MIT
#include "matmul/call_areas.hpp"

namespace rknpu2 {
namespace {

size_t index_of(const ResultIndex& at) {
    return at.run * at.slots + at.slot;
}

}  // namespace

size_t cube_bytes(const WeightPlan& plan, size_t segment, size_t bucket) {
    return dtype_bytes(operand_type(plan.recipe.arithmetic),
                       row_buckets()[bucket] * plan.segments[segment].K_padded);
}

Result<DeviceMemoryPool::Slice> cube_area(WorkAreas& areas, const PackedWeight& weight, size_t segment,
                                          size_t bucket, size_t index) {
    return areas.activations(weight.domain(), index, cube_bytes(weight.plan, segment, bucket));
}

Result<DeviceMemoryPool::Slice> result_area(WorkAreas& areas, const PackedWeight& weight, const Run& run,
                                            size_t bucket, const ResultIndex& at) {
    const DType type = result_type(weight.plan.recipe.arithmetic);
    return areas.result(weight.domain(), index_of(at), dtype_bytes(type, row_buckets()[bucket] * run.N));
}

void drop_result_area(WorkAreas& areas, const PackedWeight& weight, const ResultIndex& at) {
    areas.drop_result(weight.domain(), index_of(at));
}

}  // namespace rknpu2
