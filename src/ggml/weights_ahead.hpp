// Loads the packed weights of a graph before its first multiplication, many at a time.
//
// A weight that the cache of packed weights has (GGML_RKNPU2_WEIGHT_CACHE) is read and checked in a fraction
// of a millisecond, no more than it takes to wake a team of threads for it. So each thread takes whole
// weights, and the team is woken for some hundred of them. A weight that has no file is packed, since it has
// its place by then. What fails here is left to the multiplication that needs the weight, and which says so.
#pragma once

#include "ggml/host.hpp"
#include "ggml/matmul_group.hpp"

namespace rknpu2 {

// Of the multiplications that are the NPU's, grouped as `groups` would (its members change). Does nothing
// without a cache, or when the weight of the last one is there, as it is after the first graph. Stops between
// some tens of megabytes when `abort` says so. Thread safe.
void load_weights_ahead(Host& host, ggml_cgraph* graph, MatmulGroup& groups, ggml_abort_callback abort,
                        void* abort_data);

}  // namespace rknpu2
