// SPDX-License-Identifier: MIT
// ggml's buffer type object: plain bytes as in a GGUF file, in memory that the CPU can address.
//
// It does not call itself a "host" buffer type, so llama.cpp books it as the device's memory, and every write
// from outside comes through our buffer functions: so packed weights learn that they are out of date.
#include "ggml/host/guard.hpp"

namespace rknpu2 {
namespace {

ggml_backend_buffer_t alloc_buffer(ggml_backend_buffer_type_t type, size_t size) noexcept {
    Host& host = host_of(type);
    return guard(host, "allocating a buffer", ggml_backend_buffer_t{},
                 [&] { return new_owned_buffer(host, size); });
}

}  // namespace

void init_buffer_type(Host& host) {
    using Type = ggml_backend_buffer_type_t;
    ggml_backend_buffer_type_i& i = host.buffer_type.iface;
    i.get_name = [](Type) noexcept { return kDeviceName; };
    i.alloc_buffer = alloc_buffer;
    i.get_alignment = [](Type) noexcept { return kHostAlignment; };
    i.is_host = [](Type) noexcept { return false; };
    host.buffer_type.device = &host.device;
    host.buffer_type.context = &host;
}

}  // namespace rknpu2
