// SPDX-License-Identifier: MIT
// How many files this process may have open, and how many it may still open.
#pragma once

#include <cstdint>

namespace rknpu2 {

// The soft limit (RLIMIT_NOFILE, `ulimit -n`); 0: unknown.
uint64_t descriptor_limit();

// Descriptors between the lowest free one and the limit, so at least as many as can still be opened; two
// system calls. UINT64_MAX: unknown.
uint64_t descriptors_left();

}  // namespace rknpu2
