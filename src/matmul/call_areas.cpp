#include "matmul/call_areas.hpp"

namespace rknpu2 {
namespace {

int domain_of(const PackedWeight& weight) {
    return weight.cells[0][0].domain;
}

size_t index_of(const ResultPlace& place) {
    return place.run * place.slots + place.slot;
}

}  // namespace

size_t cube_bytes(const WeightPlan& plan, size_t segment, size_t bucket) {
    return dtype_bytes(operand_type(plan.recipe.arithmetic),
                       row_buckets()[bucket] * plan.segments[segment].K_padded);
}

Result<DeviceMemoryPool::Slice> cube_area(WorkAreas& areas, const PackedWeight& weight, size_t segment,
                                          size_t bucket, size_t index) {
    return areas.activations(domain_of(weight), index, cube_bytes(weight.plan, segment, bucket));
}

Result<DeviceMemoryPool::Slice> result_area(WorkAreas& areas, const PackedWeight& weight, const Run& run,
                                            size_t bucket, const ResultPlace& place) {
    const DType type = result_type(weight.plan.recipe.arithmetic);
    return areas.result(domain_of(weight), index_of(place), dtype_bytes(type, row_buckets()[bucket] * run.N));
}

void drop_result_area(WorkAreas& areas, const PackedWeight& weight, const ResultPlace& place) {
    areas.drop_result(domain_of(weight), index_of(place));
}

}  // namespace rknpu2
