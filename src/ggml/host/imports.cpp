// SPDX-License-Identifier: MIT
#include "ggml/host/imports.hpp"

#include <dlfcn.h>
#include <link.h>

#include "base/format.hpp"

namespace rknpu2 {
namespace {

constexpr size_t kObjectBytes = 32;  // of ggml's list of objects, before each tensor and graph

}  // namespace

Result<HostLibrary> find_host(const void* address) {
    Dl_info info{};
    link_map* map = nullptr;
    if (dladdr1(address, &info, reinterpret_cast<void**>(&map), RTLD_DL_LINKMAP) == 0 || map == nullptr) {
        return Status(StatusCode::kInvalidArgument, "the plug-in was called from outside any library");
    }
    HostLibrary host;
    const bool is_program = map->l_name == nullptr || *map->l_name == '\0';
    host.path = is_program ? "the program itself" : map->l_name;
    host.handle = is_program ? dlopen(nullptr, RTLD_NOW) : dlopen(map->l_name, RTLD_NOW | RTLD_NOLOAD);
    if (host.handle == nullptr) {
        return Status(StatusCode::kInvalidArgument,
                      format("cannot look into the host %s", host.path.c_str()));
    }
    return host;
}

Result<GgmlFunctions> import_functions(const HostLibrary& host) {
    GgmlFunctions functions;
    const char* missing = nullptr;
#define X(name)                                                                      \
    functions.name = reinterpret_cast<decltype(&::name)>(dlsym(host.handle, #name)); \
    if (functions.name == nullptr && missing == nullptr) missing = #name;
#define OPTIONAL(name) functions.name = reinterpret_cast<decltype(&::name)>(dlsym(host.handle, #name));
#include "ggml/host/ggml_imports.inc"
#undef OPTIONAL
#undef X
    if (missing != nullptr) {
        return Status(StatusCode::kUnsupported,
                      format("the host's ggml (%s) has no function %s", host.path.c_str(), missing));
    }
    const std::string operation = functions.operations.read(functions.ggml_op_name);
    if (!operation.empty()) {
        return Status(StatusCode::kUnsupported, format("the host's ggml (%s) has no operation %s",
                                                       host.path.c_str(), operation.c_str()));
    }
    functions.tensor_bytes = functions.ggml_tensor_overhead() - kObjectBytes;
    return functions;
}

}  // namespace rknpu2
