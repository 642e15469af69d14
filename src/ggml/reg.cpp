// SPDX-License-Identifier: MIT
// ggml's registry object: one device, or none without an NPU.
#include <cstring>

#include "ggml/host/host.hpp"

namespace rknpu2 {
namespace {

ggml_backend_dev_t get_device(ggml_backend_reg_t reg, size_t index) noexcept {
    Host& host = host_of(reg);
    return index == 0 && host.npu ? &host.device : nullptr;
}

void* get_proc_address(ggml_backend_reg_t, const char* name) noexcept {
    if (std::strcmp(name, "ggml_backend_set_n_threads") == 0)
        return reinterpret_cast<void*>(&backend_set_n_threads);
    if (std::strcmp(name, "ggml_backend_set_abort_callback") == 0)
        return reinterpret_cast<void*>(&backend_set_abort_callback);
    return nullptr;
}

}  // namespace

void init_registry(Host& host) {
    host.reg.api_version = GGML_BACKEND_API_VERSION;
    host.reg.iface.get_name = [](ggml_backend_reg_t) noexcept { return kRegistryName; };
    host.reg.iface.get_device_count = [](ggml_backend_reg_t reg) noexcept -> size_t {
        return host_of(reg).npu ? 1 : 0;
    };
    host.reg.iface.get_device = get_device;
    host.reg.iface.get_proc_address = get_proc_address;
    host.reg.context = &host;
}

}  // namespace rknpu2
