// SPDX-License-Identifier: MIT
// Loads the packed weights of a graph before its first multiplication, many at a time.
//
// A weight that the cache of packed weights has (GGML_RKNPU2_WEIGHT_CACHE) is read and checked in a fraction
// of a millisecond, no more than it takes to wake a team of threads for it. So each thread takes whole
// weights, and the team is woken for some hundred of them. A weight that has no file is packed into the
// memory that it has by then. Errors are ignored here; the multiplication that needs the weight tries again
// and reports them.
#pragma once

#include "ggml/graph/graph_plan.hpp"

namespace rknpu2 {

// Loads the weights of the plan's multiplications by plain matrices. Does nothing without a cache, or when
// the weight of the last one is there, as it is after the first graph. A weight that the graph writes is left
// to its multiplication. Stops between some tens of megabytes when `abort` says so. Thread safe.
void load_weights_ahead(Host& host, const GraphPlan& plan, ggml_abort_callback abort, void* abort_data);

}  // namespace rknpu2
