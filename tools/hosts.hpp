// SPDX-License-Identifier: MIT
// The ggml libraries on this machine, and which of them take the plug-in. Each is asked in a process of its own: it
// loads the plug-in as its programs do, and the plug-in proves that it fits. No table of versions is consulted.
#pragma once

#include <string>
#include <vector>

#include "base/status.hpp"

namespace rknpu2 {

struct GgmlHost {
    std::string library;
    std::string version;     // empty: it tells none
    std::string structures;  // the releases that have its layout, such as "0.9.3 to 0.9.11"; empty: refused
    std::string why_not;     // empty: it takes the plug-in
    bool tried = false;      // the plug-in was tested with this release
};

// The plug-in: beside a program in `own_directory`, as in a build, or as installed.
Result<std::string> locate_plugin(const std::string& own_directory);

// One library for each folder that has a ggml: in `folder` and below, or, if that is empty, where programs, Python,
// node and the dynamic linker have theirs. Fails when `folder` is none.
Result<std::vector<std::string>> find_ggml(const std::string& folder);

GgmlHost ask_host(const std::string& library, const std::string& plugin);

std::string to_text(const std::vector<GgmlHost>& hosts);
std::string to_json(const std::vector<GgmlHost>& hosts);

}  // namespace rknpu2
