// SPDX-License-Identifier: MIT
// The releases of ggml that the plug-in was tested with (docs/hosts.md). Others are taken, too, if the proof
// holds (proof.hpp); the log says that nobody has tried them.
#pragma once

#include <algorithm>
#include <array>
#include <string_view>

namespace rknpu2 {

inline constexpr std::array<std::string_view, 11> kTestedReleases = {
    "0.9.4", "0.9.5", "0.9.7", "0.9.8", "0.13.1", "0.17.0", "0.19.0", "0.23.0", "0.25.1", "0.25.2", "0.25.3"};

inline bool is_tested_release(std::string_view version) {
    return std::find(kTestedReleases.begin(), kTestedReleases.end(), version) != kTestedReleases.end();
}

}  // namespace rknpu2
