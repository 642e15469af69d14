// SPDX-License-Identifier: MIT
// Copies of the host's libraries under other names, as other programs ship them.
#pragma once

#include <string>

#include "ggml/ggml_host.hpp"

namespace rknpu2::test {

// Copies the files into `folder` with every "libggml" in their names, sonames and dependencies replaced
// by `name`, which must have the same seven letters. Neither the plug-in nor the test program know these
// names.
HostFiles renamed_files(const TemporaryFolder& folder, const std::string& name,
                        const HostFiles& files = stock_files());

// Those of a package of node-llama-cpp that scripts/prebuilt_hosts.py has fetched; no registry if it has not.
HostFiles prebuilt_files(const std::string& version);

}  // namespace rknpu2::test
