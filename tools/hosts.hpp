// SPDX-License-Identifier: MIT
// The ggml libraries on this machine, and which of them take the plug-in: each loads it in a process of its own, as its
// programs do, where the plug-in proves that it fits.
#pragma once

#include <string>
#include <vector>

namespace rknpu2 {

struct GgmlHost {
    std::string library;
    std::string version;  // empty: it tells none
    std::string layout;   // the releases that have it, such as "0.9.3 to 0.9.11"; empty: refused
    std::string why_not;  // empty: it takes the plug-in
    bool loads = false;
    bool tried = false;  // the plug-in was tested with this release
};

// One library for each folder that has a ggml: in `folder` and below, or, if that is empty, where programs, Python, node
// and the dynamic linker have theirs.
std::vector<std::string> find_ggml(const std::string& folder);

GgmlHost ask_host(const std::string& library, const std::string& plugin);

std::string to_text(const std::vector<GgmlHost>& hosts);
std::string to_json(const std::vector<GgmlHost>& hosts);

}  // namespace rknpu2
