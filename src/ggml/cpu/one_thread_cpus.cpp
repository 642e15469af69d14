// SPDX-License-Identifier: MIT
#include "ggml/cpu/one_thread_cpus.hpp"

#include <exception>

namespace rknpu2 {

OneThreadCpus::~OneThreadCpus() {
    for (const ggml_backend_t backend : all_)
        host_.ggml.ggml_backend_free(backend);
}

ggml_backend_t OneThreadCpus::take() noexcept try {
    const std::lock_guard lock(mutex_);
    if (idle_.empty()) {
        all_.reserve(all_.size() + 1);
        idle_.reserve(all_.size() + 1);
        const ggml_backend_dev_t device = host_.cpu_device();
        const ggml_backend_t made =
            device != nullptr ? host_.ggml.ggml_backend_dev_init(device, nullptr) : nullptr;
        if (made == nullptr) return nullptr;
        set_cpu_threads(host_, made, 1);
        all_.push_back(made);
        return made;
    }
    const ggml_backend_t backend = idle_.back();
    idle_.pop_back();
    return backend;
} catch (const std::exception&) {  // no memory
    return nullptr;
}

void OneThreadCpus::give_back(ggml_backend_t backend) noexcept {
    const std::lock_guard lock(mutex_);
    idle_.push_back(backend);
}

void set_cpu_threads(const Host& host, ggml_backend_t backend, int threads) {
    const auto set = host.cpu_function<ggml_backend_set_n_threads_t>("ggml_backend_set_n_threads");
    if (set != nullptr) set(backend, threads);
}

ggml_status compute_node(const Host& host, ggml_backend_t backend, ggml_tensor* node) {
    ggml_cgraph graph{};
    graph.size = graph.n_nodes = 1;
    graph.nodes = &node;
    return host.ggml.ggml_backend_graph_compute(backend, &graph);
}

}  // namespace rknpu2
