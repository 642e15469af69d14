// SPDX-License-Identifier: MIT
// Which versions of ggml lay their structures out as the headers do that we were built with.
//
// ggml's own API number does not tell: it is 2 both for 0.9.11 and for 0.25, whose structures differ. So the
// layouts are pinned when we are built (static_asserts in abi.cpp) and the host's version is compared with a
// list when we are loaded.
#pragma once

#include <string>

namespace rknpu2 {

// True if a host that calls itself `version` ("0.25.3") is known to fit.
bool is_known_ggml(const std::string& version);

// "0.25.1, 0.25.2, 0.25.3", for messages.
std::string known_ggml_versions();

}  // namespace rknpu2
