// SPDX-License-Identifier: MIT
// Measures what the choice between NPU and CPU goes by (runtime/measured_rates.hpp), each by the way that a graph would go: the NPU's
// with quantising, runs and results to floats, the CPU's by the host's CPU backend from a copy in its own layout.
//
// The matrices are 4096 elements deep, with 256 and with 4096 columns, so that the larger is in no cache. It takes less than two seconds
// on a board, most of it packing, and is counted in the statistics as any multiplication is.
#pragma once

#include "ggml/host/host.hpp"

namespace rknpu2 {

class InnerCpu;  // ggml/cpu/inner_cpu.hpp

// Before a host's first graph: chooses the rates by which NPU or CPU is chosen, as GGML_RKNPU2_RATES says; the CPU's are those of as many
// threads as `cpu` has. A line of the log tells. Later calls do nothing.
void choose_rates_of(Host& host, const InnerCpu& cpu);

}  // namespace rknpu2
