// Chooses the row chunk, the order of chunks and the grids of the weights by cost: what the timeline of a few
// layers says.
//
// The cost is that of a request: so many tokens of prompt, then so many generated. Cells of a weight are
// fixed when it is packed, hence one plan for both: segments that spare prefill from reading weights again
// are paid for by decode in run calls. One group after the other is improved until nothing improves any more;
// a design that plans no segments only chooses its chunk, and one that overlaps nothing chooses nothing.
#pragma once

#include "predict/stages.hpp"

namespace rknpu2 {

struct Goal {
    int64_t prompt = 512;
    int64_t generated = 128;
    int64_t context = 512;  // of decode
};

Plan choose_plan(const Setting& setting, const Goal& goal);

}  // namespace rknpu2
