// SPDX-License-Identifier: MIT
// The device memory of a running call: how large its cubes and results are, and which work areas they have.
//
// Memory is asked of WorkAreas for a row bucket, a shape and a number, and the answer to a question that was
// asked before is the area of before. Both schedulers have their areas from here, and from nowhere else.
#pragma once

#include "device/work_areas.hpp"
#include "matmul/run_list.hpp"
#include "weights/packed_weight.hpp"

namespace rknpu2 {

// Where the result of a run goes: runs of the call are numbered, and so are the results that one may have at
// a time.
struct ResultIndex {
    size_t run = 0;
    size_t slot = 0;
    size_t slots = 1;
};

size_t cube_bytes(const WeightPlan& plan, size_t segment, size_t bucket);
// Cube `index` of the call: rows of activations for a K segment of the weight.
Result<DeviceMemoryPool::Slice> cube_area(WorkAreas& areas, const PackedWeight& weight, size_t segment,
                                          size_t bucket, size_t index);
Result<DeviceMemoryPool::Slice> result_area(WorkAreas& areas, const PackedWeight& weight, const Run& run,
                                            size_t bucket, const ResultIndex& at);
// What result_area() gives there next is another area.
void drop_result_area(WorkAreas& areas, const PackedWeight& weight, const ResultIndex& at);

}  // namespace rknpu2
