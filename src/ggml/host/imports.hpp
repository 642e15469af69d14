// SPDX-License-Identifier: MIT
// The functions of the ggml that loaded us, found at run time.
//
// Hosts name ggml's libraries differently, open them privately, and sometimes bring two of them into one
// process, so the plug-in links to none. It asks the dynamic linker who called it and looks the names up
// there (and in what that library depends on). Each host gets a table of its own.
#pragma once

#include <string>

#include "base/status.hpp"
#include "ggml/api/backends.hpp"
#include "ggml/host/operations.hpp"

namespace rknpu2 {

struct GgmlFunctions {
    Operations operations;
    size_t tensor_bytes = sizeof(ggml_tensor);  // of the host's tensors
    bool marks_wanted = false;                  // does the host mark the nodes that a graph is to compute?
#define X(name) decltype(&::name) name = nullptr;
#define OPTIONAL(name) X(name)
#include "ggml/host/ggml_imports.inc"
#undef OPTIONAL
#undef X

    Op op(const ggml_tensor* node) const {
        return operations.of(node);
    }
    // Does the node compute something? One without data to move does not, nor does one of a branch that is not selected.
    bool computes(const ggml_tensor* node) const {
        return !is_no_op(op(node)) && (!marks_wanted || (node->flags & GGML_TENSOR_FLAG_COMPUTE) != 0);
    }
};

// The shared library (or program) that holds an address.
struct HostLibrary {
    void* handle =
        nullptr;  // from dlopen; kept, so that the host cannot be unloaded while we hold its functions
    std::string path;
};

// Fails when `address` lies in no loaded library.
Result<HostLibrary> find_host(const void* address);

// Fails with the name of the first function, or of the first operation, that the host does not have.
Result<GgmlFunctions> import_functions(const HostLibrary& host);

}  // namespace rknpu2
