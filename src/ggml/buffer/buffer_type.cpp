// SPDX-License-Identifier: MIT
// ggml's buffer type object: plain bytes as in a GGUF file, in memory that the CPU can address.
//
// It is not a "host" buffer type all the same: llama.cpp books it as the device's memory, and every write
// from outside comes through our buffer functions, which is how packed weights learn that they are out of
// date.
#include "ggml/host/guard.hpp"
#include "ggml/host/host.hpp"

namespace rknpu2 {
namespace {

const char* get_name(ggml_backend_buffer_type_t) noexcept {
    return kDeviceName;
}

ggml_backend_buffer_t alloc_buffer(ggml_backend_buffer_type_t type, size_t size) noexcept {
    Host& host = host_of(type);
    return guard(host, "allocating a buffer", ggml_backend_buffer_t{},
                 [&] { return new_owned_buffer(host, size); });
}

size_t get_alignment(ggml_backend_buffer_type_t) noexcept {
    return kHostAlignment;
}

bool is_host(ggml_backend_buffer_type_t) noexcept {
    return false;
}

}  // namespace

void init_buffer_type(Host& host) {
    host.buffer_type.iface = {get_name, alloc_buffer, get_alignment, nullptr, nullptr, is_host};
    host.buffer_type.device = &host.device;
    host.buffer_type.context = &host;
}

}  // namespace rknpu2
