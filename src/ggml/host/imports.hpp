// SPDX-License-Identifier: MIT
// The functions of the ggml that loaded us, found at run time.
//
// Hosts name ggml's libraries differently, open them privately, and sometimes bring two of them into one
// process, so the plug-in links to none. It asks the dynamic linker who called it and looks the names up
// there (and in what that library depends on). Each host gets a table of its own.
#pragma once

#include <string>

#include "base/status.hpp"
#include "ggml-backend-impl.h"
#include "ggml-impl.h"

namespace rknpu2 {

struct GgmlFunctions {
#define X(name) decltype(&::name) name = nullptr;
#include "ggml/host/ggml_imports.inc"
#undef X
};

// The shared library (or program) that holds an address.
struct HostLibrary {
    void* handle =
        nullptr;  // from dlopen; kept, so that the host cannot be unloaded while we hold its functions
    std::string path;
};

// Fails when `address` lies in no loaded library.
Result<HostLibrary> find_host(const void* address);

// The host's own statement of its version, or empty if it has no ggml_version() or cannot be asked.
std::string host_ggml_version(const HostLibrary& host);

// Fails with the name of the first function that the host does not have.
Result<GgmlFunctions> import_functions(const HostLibrary& host);

}  // namespace rknpu2
