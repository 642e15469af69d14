// SPDX-License-Identifier: MIT
// Old content of cache cells that a flow is about to write.
//
// One by one, all rows of a prompt are written to the cache before attention reads it. In a flow, attention
// of the first chunk runs before the last chunk has written its rows. The mask hides those, but ggml's
// attention still computes with what they hold: a key is added to minus infinity, a value is multiplied by
// zero. An infinity or a NaN of an earlier request there would make the result NaN. So the cells are set to
// zero bytes, which are the number 0 in every type of ggml, before the first chunk writes. Nobody misses the
// old content: the flow writes every one of these cells.
#pragma once

#include <vector>

#include "ggml/flow/flow_plan.hpp"

namespace rknpu2 {

// Sets rows first .. first + count - 1 of the flow to zero where `writer`, a SET_ROWS, will write them.
// Places that are no rows of the cache are left out: the host's own function reports them. Several threads
// may clear different rows, as long as no row of the flow has been written.
void clear_cache_cells(const GgmlFunctions& ggml, const ggml_tensor* writer, int64_t first, int64_t count);

}  // namespace rknpu2
