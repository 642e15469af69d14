// SPDX-License-Identifier: MIT
#include "ggml/buffer/cpu_copies.hpp"

#include "base/checked.hpp"
#include "base/log.hpp"
#include "system/system_memory.hpp"

namespace rknpu2 {
namespace {

// What a copy must leave free of the machine's memory.
constexpr size_t kReservedShare = 8;

// As llama.cpp asks: would the CPU backend compute this node if its weight lay in such a buffer?
bool takes(const Host& host, ggml_backend_buffer_type_t type, const ggml_tensor* node) {
    const ggml_backend_buffer_t nothing = host.ggml.ggml_backend_buft_alloc_buffer(type, 0);
    if (nothing == nullptr) return false;
    ggml_tensor weight = *node->src[0];
    ggml_tensor rows = *node->src[1];
    ggml_tensor product = *node;
    weight.buffer = nothing;
    weight.extra = nullptr;
    rows.buffer = nullptr;
    product.src[0] = &weight;
    product.src[1] = &rows;
    const bool supported = host.ggml.ggml_backend_dev_supports_op(host.cpu_device(), &product);
    host.ggml.ggml_backend_buffer_free(nothing);
    return supported;
}

ggml_backend_buffer_type_t faster_type(const Host& host, const ggml_tensor* node) {
    const ggml_backend_dev_t cpu = host.cpu_device();
    if (cpu == nullptr) return nullptr;
    const auto extra_types =
        reinterpret_cast<ggml_backend_dev_get_extra_bufts_t>(host.ggml.ggml_backend_reg_get_proc_address(
            host.ggml.ggml_backend_dev_backend_reg(cpu), "ggml_backend_dev_get_extra_bufts"));
    if (extra_types == nullptr) return nullptr;
    for (ggml_backend_buffer_type_t* type = extra_types(cpu); type != nullptr && *type != nullptr; ++type) {
        if (takes(host, *type, node)) return *type;
    }
    return nullptr;
}

bool has_room(const ggml_tensor* stack, size_t bytes, bool warned) {
    const SystemMemory memory = system_memory();
    const size_t reserve = memory.total / kReservedShare;
    if (bytes + reserve <= memory.available) return true;
    if (!warned) {
        log(LogLevel::kWarning,
            "%s and maybe others are computed as they are stored, which is slower: a copy for the CPU takes "
            "%zu "
            "MiB, and of the %zu MiB available %zu are to stay free",
            stack->name, bytes >> 20, memory.available >> 20, reserve >> 20);
    }
    return false;
}

std::shared_ptr<const CpuCopy> make_copy(Host& host, const ggml_tensor* node, bool warned) {
    const ggml_tensor* const stack = node->src[0];
    const ggml_backend_buffer_type_t type = faster_type(host, node);
    if (type == nullptr) return nullptr;
    auto copy = std::make_shared<CpuCopy>(host, *stack);
    copy->tensor.buffer = nullptr;
    copy->tensor.data = nullptr;
    copy->tensor.extra = nullptr;
    const size_t bytes = host.ggml.ggml_backend_buft_get_alloc_size(type, &copy->tensor);
    if (!has_room(stack, bytes, warned)) {
        ++host.counters->cpu_copies_refused;
        return nullptr;
    }
    const PhaseTimer timer(*host.counters, Phase::kPack);
    copy->buffer = host.ggml.ggml_backend_buft_alloc_buffer(type, bytes);
    if (copy->buffer == nullptr) return nullptr;
    copy->tensor.buffer = copy->buffer;
    copy->tensor.data = host.ggml.ggml_backend_buffer_get_base(copy->buffer);
    const size_t raw_bytes = host.ggml.ggml_nbytes(stack);
    if (host.ggml.ggml_backend_buffer_init_tensor(copy->buffer, &copy->tensor) != GGML_STATUS_SUCCESS)
        return nullptr;
    copy->buffer->iface.set_tensor(copy->buffer, &copy->tensor, stack->data, 0, raw_bytes);
    ++host.counters->cpu_copies;
    host.counters->cpu_copy_bytes += bytes;
    return copy;
}

}  // namespace

CpuCopy::~CpuCopy() {
    if (buffer != nullptr) host.ggml.ggml_backend_buffer_free(buffer);
}

std::shared_ptr<const CpuCopy> CpuCopies::get(Host& host, const ggml_tensor* node, size_t offset,
                                              bool mapped) {
    // Held while a copy is made: a second thread that wants the same one waits for it.
    const std::lock_guard lock(mutex_);
    if (const auto found = entries_.find(offset); found != entries_.end()) return found->second.copy;
    const bool warned = host.counters->cpu_copies_refused > 0;
    const Entry made{host.ggml.ggml_nbytes(node->src[0]), make_copy(host, node, warned)};
    if (made.copy != nullptr && mapped) give_back_pages(node->src[0]->data, made.bytes);
    return entries_.emplace(offset, made).first->second.copy;
}

void CpuCopies::invalidate(size_t offset, size_t bytes) {
    const std::lock_guard lock(mutex_);
    std::erase_if(entries_, [&](const auto& entry) {
        return entry.first < saturating_add(offset, bytes) && offset < entry.first + entry.second.bytes;
    });
}

bool CpuCopies::empty() const {
    const std::lock_guard lock(mutex_);
    return entries_.empty();
}

}  // namespace rknpu2
