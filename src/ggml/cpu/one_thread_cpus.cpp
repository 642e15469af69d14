// SPDX-License-Identifier: MIT
#include "ggml/cpu/one_thread_cpus.hpp"

#include <exception>

namespace rknpu2 {

OneThreadCpus::~OneThreadCpus() {
    for (const ggml_backend_t backend : all_)
        host_.ggml.ggml_backend_free(backend);
}

ggml_backend_t OneThreadCpus::take() noexcept {
    {
        const std::lock_guard lock(mutex_);
        if (!idle_.empty()) {
            const ggml_backend_t backend = idle_.back();
            idle_.pop_back();
            return backend;
        }
    }
    try {
        return make();
    } catch (const std::exception&) {  // no memory
        return nullptr;
    }
}

ggml_backend_t OneThreadCpus::make() {
    const ggml_backend_dev_t device = host_.cpu_device();
    if (device == nullptr) return nullptr;
    const std::lock_guard lock(mutex_);
    all_.reserve(all_.size() + 1);
    idle_.reserve(all_.size() + 1);
    const ggml_backend_t backend = host_.ggml.ggml_backend_dev_init(device, nullptr);
    if (backend == nullptr) return nullptr;
    all_.push_back(backend);
    const auto set =
        reinterpret_cast<ggml_backend_set_n_threads_t>(host_.ggml.ggml_backend_reg_get_proc_address(
            host_.ggml.ggml_backend_dev_backend_reg(device), "ggml_backend_set_n_threads"));
    if (set != nullptr) set(backend, 1);
    return backend;
}

void OneThreadCpus::give_back(ggml_backend_t backend) noexcept {
    const std::lock_guard lock(mutex_);
    idle_.push_back(backend);
}

}  // namespace rknpu2
