// SPDX-License-Identifier: MIT
#include "ggml/buffer/cpu_copies.hpp"

#include "base/checked.hpp"
#include "base/format.hpp"
#include "base/log.hpp"
#include "ggml/buffer/buffer.hpp"
#include "ggml/host/host_tensor.hpp"
#include "system/system_memory.hpp"

namespace rknpu2 {
namespace {

// As llama.cpp asks: would the CPU backend compute this node if its weight lay in such a buffer?
bool takes(const Host& host, ggml_backend_buffer_type_t type, const ggml_tensor* node) {
    const ggml_backend_buffer_t nothing = host.ggml.ggml_backend_buft_alloc_buffer(type, 0);
    if (nothing == nullptr) return false;
    HostTensor weight(host.ggml, *node->src[0]);
    HostTensor rows(host.ggml, *node->src[1]);
    HostTensor product(host.ggml, *node);
    weight->buffer = nothing;
    rows->buffer = nullptr;
    product->src[0] = weight.get();
    product->src[1] = rows.get();
    const bool supported = host.ggml.ggml_backend_dev_supports_op(host.cpu_device(), product.get());
    host.ggml.ggml_backend_buffer_free(nothing);
    return supported;
}

ggml_backend_buffer_type_t faster_type(const Host& host, const ggml_tensor* node) {
    ggml_backend_buffer_type_t* type = host.cpu_layouts();
    while (type != nullptr && *type != nullptr && !takes(host, *type, node))
        ++type;
    return type != nullptr ? *type : nullptr;
}

}  // namespace

Result<CpuCopy> copy_for_cpu(Host& host, const ggml_tensor* node) {
    const GgmlFunctions& ggml = host.ggml;
    const ggml_tensor* const raw = node->src[0];
    const ggml_backend_buffer_type_t type = faster_type(host, node);
    if (type == nullptr) return CpuCopy();
    const std::shared_ptr<HostTensor> made(new HostTensor(ggml, *raw), [&ggml](HostTensor* tensor) {
        if ((*tensor)->buffer != nullptr) ggml.ggml_backend_buffer_free((*tensor)->buffer);
        delete tensor;
    });
    CpuCopy copy(made, made->get());
    ggml_tensor* const tensor = made->get();
    tensor->buffer = nullptr;
    tensor->data = nullptr;
    const size_t bytes = ggml.ggml_backend_buft_get_alloc_size(type, tensor);
    RKNPU2_RETURN_IF_ERROR(check_memory(saturating_add(bytes, promised_bytes(host)), system_memory()));
    const PhaseTimer timer(*host.counters, Phase::kPack);
    tensor->buffer = ggml.ggml_backend_buft_alloc_buffer(type, bytes);
    const Status refused(StatusCode::kOutOfMemory, format("needs %zu MiB, which were refused", bytes >> 20));
    if (tensor->buffer == nullptr) return refused;
    tensor->data = ggml.ggml_backend_buffer_get_base(tensor->buffer);
    if (ggml.ggml_backend_buffer_init_tensor(tensor->buffer, tensor) != GGML_STATUS_SUCCESS) return refused;
    ggml.ggml_backend_tensor_set(tensor, raw->data, 0, ggml.ggml_nbytes(raw));
    return copy;
}

CpuCopy make_cpu_copy(Host& host, const ggml_tensor* node) {
    const Result<CpuCopy> made = copy_for_cpu(host, node);
    if (!made.ok()) {
        if (host.counters->cpu_copies_refused++ == 0)
            log(LogLevel::kWarning,
                "%s and maybe others are computed as they are stored, which is slower: a copy for the CPU %s",
                node->src[0]->name, made.status().message().c_str());
        return nullptr;
    }
    if (made.value() == nullptr) return nullptr;
    ++host.counters->cpu_copies;
    host.counters->cpu_copy_bytes += host.ggml.ggml_backend_buffer_get_size(made.value()->buffer);
    return made.value();
}

}  // namespace rknpu2
