// SPDX-License-Identifier: MIT
#include "ggml/buffer/buffer.hpp"

#include <algorithm>
#include <cstring>

#include "base/format.hpp"
#include "ggml/host/guard.hpp"
#include "ggml/node/describe.hpp"
#include "matmul/npu_device.hpp"
#include "system/system_memory.hpp"

namespace rknpu2 {
namespace {

// The functions that a host calls are told only its object: they exist for each layout that it may have.
template <size_t kAbi>
Buffer& of(ggml_backend_buffer_t buffer) {
    return *static_cast<Buffer*>(kAbis[kAbi].buffer_context(buffer));
}

// Runs a write to the buffer; one that fails poisons it, so that no graph computes with half-written weights.
template <typename Write>
bool write_guarded(Buffer& buffer, const char* operation, void* at, size_t size,
                   const Write& write) noexcept {
    const bool written = guard(*buffer.host, operation, false, [&] {
        buffer.invalidate(at, size);
        write();
        return true;
    });
    if (!written) buffer.poisoned = true;
    return written;
}

std::byte* bytes_of(const ggml_tensor* tensor, size_t offset) {
    return static_cast<std::byte*>(tensor->data) + offset;
}

template <size_t kAbi>
void free_buffer(ggml_backend_buffer_t buffer) noexcept {
    Host& host = *of<kAbi>(buffer).host;
    guard(host, "freeing a buffer", false, [&] {
        {
            const std::lock_guard lock(host.buffers_mutex);
            host.buffers.erase(buffer);
        }
        delete &of<kAbi>(buffer);
        return true;
    });
}

template <size_t kAbi>
ggml_status init_tensor(ggml_backend_buffer_t buffer, ggml_tensor* tensor) noexcept {
    Buffer& ours = of<kAbi>(buffer);
    if (tensor->view_src == nullptr) ours.tensor_bytes += ours.host->ggml.ggml_nbytes(tensor);
    return GGML_STATUS_SUCCESS;
}

template <size_t kAbi>
void memset_tensor(ggml_backend_buffer_t buffer, ggml_tensor* tensor, uint8_t value, size_t offset,
                   size_t size) noexcept {
    std::byte* const at = bytes_of(tensor, offset);
    write_guarded(of<kAbi>(buffer), "filling a tensor", at, size, [&] { std::memset(at, value, size); });
}

template <size_t kAbi>
void set_tensor(ggml_backend_buffer_t buffer, ggml_tensor* tensor, const void* data, size_t offset,
                size_t size) noexcept {
    std::byte* const at = bytes_of(tensor, offset);
    write_guarded(of<kAbi>(buffer), "writing a tensor", at, size, [&] { std::memcpy(at, data, size); });
}

void get_tensor(ggml_backend_buffer_t, const ggml_tensor* tensor, void* data, size_t offset,
                size_t size) noexcept {
    std::memcpy(data, bytes_of(tensor, offset), size);
}

// From any memory that the CPU can address; false sends ggml the long way round.
template <size_t kAbi>
bool cpy_tensor(ggml_backend_buffer_t buffer, const ggml_tensor* from, ggml_tensor* to) noexcept {
    const Host& host = *of<kAbi>(buffer).host;
    if (our_buffer(host, from->buffer) == nullptr && !host.ggml.ggml_backend_buffer_is_host(from->buffer))
        return false;
    const size_t size = host.ggml.ggml_nbytes(from);
    return write_guarded(of<kAbi>(buffer), "copying a tensor", to->data, size,
                         [&] { std::memmove(to->data, from->data, size); });
}

template <size_t kAbi>
void clear(ggml_backend_buffer_t buffer, uint8_t value) noexcept {
    Buffer& ours = of<kAbi>(buffer);
    write_guarded(ours, "clearing a buffer", ours.base, kAbis[kAbi].buffer_size(buffer),
                  [&] { std::memset(ours.base, value, kAbis[kAbi].buffer_size(buffer)); });
}

template <size_t kAbi>
ggml_backend_buffer_i table() {
    ggml_backend_buffer_i i{};
    i.free_buffer = free_buffer<kAbi>;
    i.get_base = [](ggml_backend_buffer_t buffer) noexcept -> void* { return of<kAbi>(buffer).base; };
    i.init_tensor = init_tensor<kAbi>;
    i.memset_tensor = memset_tensor<kAbi>;
    i.set_tensor = set_tensor<kAbi>;
    i.get_tensor = get_tensor;
    i.cpy_tensor = cpy_tensor<kAbi>;
    i.clear = clear<kAbi>;
    return i;
}

ggml_backend_buffer_t wrap(Host& host, std::unique_ptr<Buffer> buffer, size_t size) {
    const ggml_backend_buffer_i i = host.abi == &kAbis[0] ? table<0>() : table<1>();
    const ggml_backend_buffer_t made =
        host.abi->new_buffer(host.ggml.ggml_backend_buffer_init, &host.buffer_type, i, buffer.get(), size);
    if (made == nullptr) return nullptr;
    const std::lock_guard lock(host.buffers_mutex);
    host.buffers.insert(made);
    static_cast<void>(buffer.release());  // free_buffer() deletes it
    return made;
}

// The key of a tensor that is multiplied by: of all its bytes, in no form yet.
WeightKey key_of_tensor(const Host& host, const Buffer& buffer, const ggml_tensor* weight) {
    WeightKey key;
    key.offset = buffer.offset_of(weight->data);
    key.bytes = host.ggml.ggml_nbytes(weight);
    key.type = static_cast<int>(weight->type);
    key.K = static_cast<size_t>(weight->ne[0]);
    key.N = static_cast<size_t>(weight->ne[1]);
    return key;
}

// The key of a multiplication's weight, or of one expert of a stack. Every multiplication asks for it, so it
// allocates nothing.
WeightKey key_of(const Host& host, const Buffer& buffer, const ggml_tensor* op, int expert) {
    const ggml_tensor* const weight = op->src[0];
    WeightKey key = key_of_tensor(host, buffer, weight);
    key.offset += expert < 0 ? 0 : static_cast<size_t>(expert) * weight->nb[2];
    key.bytes = key.N * weight->nb[1];
    key.arithmetic = recipe_of(host.config.precision, wants_float_activations(op)).arithmetic;
    return key;
}

template <typename Visit>
void for_each_buffer_of_weights(Host& host, const Visit& visit) {
    const std::lock_guard lock(host.buffers_mutex);
    for (const ggml_backend_buffer_t buffer : host.buffers)
        if (host.abi->buffer_usage(buffer) == GGML_BACKEND_BUFFER_USAGE_WEIGHTS)
            visit(*our_buffer(host, buffer));
}

void take_promised(Buffer& buffer, const ggml_tensor* stack, size_t bytes) {
    const std::lock_guard lock(buffer.stacks_mutex);
    const auto known = buffer.stacks.find(buffer.offset_of(stack->data));
    if (known != buffer.stacks.end()) known->second.taken += bytes;
}

ggml_backend_buffer_t alloc_buffer(ggml_backend_buffer_type_t type, size_t size) noexcept {
    Host& host = host_of(type);
    return guard(host, "allocating a buffer", ggml_backend_buffer_t{},
                 [&] { return new_owned_buffer(host, size); });
}

}  // namespace

Result<std::shared_ptr<const PackedWeight>> packed_weight(Host& host, const ggml_tensor* op, int expert,
                                                          ReservedWeight* reserved) {
    Buffer& buffer = *our_buffer(host, op->src[0]->buffer);
    if (expert < 0 && !buffer.is_begun.exchange(true)) {
        const Status memory = memory_to_pack(host);
        if (!memory.ok() && !host.memory_is_told.exchange(true))
            log(LogLevel::kWarning,
                "%s and the weights after it %s: the system may end the process; give the NPU fewer layers "
                "(-ngl), or take "
                "a smaller model",
                op->src[0]->name, memory.message().c_str());
    }
    return buffer.weights.get(key_of(host, buffer, op, expert), [&] {
        auto packed = reserved == nullptr ? host.npu->pack(weight_source(host, op, expert))
                                          : host.npu->pack(std::move(*reserved));
        if (!packed.ok()) return packed;
        const WeightSource& source = packed.value()->source;
        if (expert >= 0) take_promised(buffer, op->src[0], packed.value()->plan.packed_bytes());
        // From here on only the packed form is read; the file can bring the raw bytes back if anyone asks for
        // them.
        const bool kept =
            expert >= 0 ? host.config.experts == Experts::kAuto : buffer.forms.load() == Buffer::Forms::kBoth;
        if (buffer.shared_file_mapping && !kept) give_back_pages(source.data, source.bytes());
        log(LogLevel::kDebug, "packed %s %s [%zu, %zu]: %zu bytes", source.name.c_str(),
            source.type_name.c_str(), source.K, source.N, packed.value()->plan.packed_bytes());
        return packed;
    });
}

std::shared_ptr<const PackedWeight> known_weight(const Host& host, const ggml_tensor* op) {
    const Buffer& buffer = *our_buffer(host, op->src[0]->buffer);
    return buffer.weights.known(key_of(host, buffer, op, -1));
}

bool is_stack_packed(const Host& host, const ggml_tensor* op) {
    Buffer& buffer = *our_buffer(host, op->src[0]->buffer);
    const std::lock_guard lock(buffer.stacks_mutex);
    const auto known = buffer.stacks.find(buffer.offset_of(op->src[0]->data));
    return known != buffer.stacks.end() && known->second.taken > 0;
}

Status pack_together(Host& host, Nodes matmuls, std::vector<std::shared_ptr<const PackedWeight>>& weights) {
    const auto is_there = [&](const ggml_tensor* matmul) { return is_packed(host, matmul); };
    std::vector<ReservedWeight> reserved;
    if (matmuls.size() > 1 && std::none_of(matmuls.begin(), matmuls.end(), is_there)) {
        std::vector<WeightSource> sources;
        for (const ggml_tensor* const matmul : matmuls)
            sources.push_back(weight_source(host, matmul));
        reserved = RKNPU2_TAKE(host.npu->reserve(sources).with_context("packing"));
    }
    weights.clear();
    for (size_t i = 0; i < matmuls.size(); ++i) {
        auto packed = packed_weight(host, matmuls[i], -1, reserved.empty() ? nullptr : &reserved[i]);
        if (!packed.ok()) return packed.status().with_context(format("packing %s", matmuls[i]->src[0]->name));
        weights.push_back(packed.take());
    }
    return {};
}

bool may_hold_packed(Host& host, const ggml_tensor* stack, size_t packed_bytes) {
    Buffer& buffer = *our_buffer(host, stack->buffer);
    const std::lock_guard placing(host.placing_mutex);  // no other stack is promised the same memory
    const size_t offset = buffer.offset_of(stack->data);
    {
        const std::lock_guard lock(buffer.stacks_mutex);
        if (const auto known = buffer.stacks.find(offset); known != buffer.stacks.end())
            return known->second.allowed;
    }
    const Status memory = check_memory(saturating_add(packed_bytes, bytes_to_pack(host)), system_memory());
    const std::lock_guard lock(buffer.stacks_mutex);
    const bool first = std::all_of(buffer.stacks.begin(), buffer.stacks.end(),
                                   [](const auto& entry) { return entry.second.allowed; });
    if (!memory.ok() && first)
        log(LogLevel::kWarning,
            "%s and maybe others stay on the CPU: with all else that will be packed it %s", stack->name,
            memory.message().c_str());
    buffer.stacks[offset] = {memory.ok(), packed_bytes, 0};
    return memory.ok();
}

CpuCopy cpu_copy(Host& host, const ggml_tensor* node) {
    const ggml_tensor* const raw = node->src[0];
    Buffer& buffer = *our_buffer(host, raw->buffer);
    const WeightKey key = key_of_tensor(host, buffer, raw);
    const auto make = [&]() -> Result<CpuCopy> {
        CpuCopy copy = make_cpu_copy(host, node);
        if (copy != nullptr && buffer.shared_file_mapping) give_back_pages(raw->data, key.bytes);
        return copy;
    };
    return buffer.copies.get(key, make).take();
}

size_t waiting_raw_bytes(Host& host) {
    size_t bytes = 0;
    for_each_buffer_of_weights(host, [&](Buffer& buffer) {
        const size_t all = buffer.tensor_bytes;
        bytes += all - std::min(all, buffer.weights.raw_bytes());
    });
    return host.forecast.waiting(bytes);
}

size_t promised_bytes(Host& host) {
    size_t bytes = 0;
    const std::lock_guard lock(host.buffers_mutex);
    // An RPC server does not tell that a buffer is of weights.
    for (const ggml_backend_buffer_t of_host : host.buffers) {
        Buffer& buffer = *our_buffer(host, of_host);
        const std::lock_guard stacks(buffer.stacks_mutex);
        for (const auto& [offset, stack] : buffer.stacks)
            if (stack.allowed) bytes += stack.packed_bytes - std::min(stack.packed_bytes, stack.taken);
    }
    return bytes;
}

size_t bytes_to_pack(Host& host) {
    const double plain = static_cast<double>(waiting_raw_bytes(host)) * host.forecast.ratio();
    return static_cast<size_t>(plain) + promised_bytes(host);
}

Status memory_to_pack(Host& host) {
    const size_t bytes = bytes_to_pack(host), available = system_memory().available;
    if (bytes <= available || available == 0) return {};
    return {StatusCode::kOutOfMemory,
            format("take %zu MiB when they are packed, and %zu MiB are free", bytes >> 20, available >> 20)};
}

Buffer* our_buffer(const Host& host, const ggml_backend_buffer* buffer) {
    if (buffer == nullptr || host.abi->buffer_type(buffer) != &host.buffer_type) return nullptr;
    return static_cast<Buffer*>(host.abi->buffer_context(buffer));
}

void note_write(const Host& host, const ggml_tensor* tensor) {
    Buffer* const buffer = our_buffer(host, tensor->buffer);
    if (buffer != nullptr) buffer->invalidate(tensor->data, host.ggml.ggml_nbytes(tensor));
}

ggml_backend_buffer_t new_owned_buffer(Host& host, size_t size) {
    auto buffer = std::make_unique<Buffer>(host);
    Result<AlignedBuffer> memory = AlignedBuffer::allocate(std::max<size_t>(size, 1));
    if (!memory.ok()) {
        log(LogLevel::kError, "cannot allocate a buffer: %s", memory.status().message().c_str());
        return nullptr;
    }
    buffer->owned = memory.take();
    buffer->base = buffer->owned.data();
    return wrap(host, std::move(buffer), size);
}

ggml_backend_buffer_t new_borrowed_buffer(Host& host, void* data, size_t size) {
    auto buffer = std::make_unique<Buffer>(host);
    buffer->base = static_cast<std::byte*>(data);
    buffer->shared_file_mapping = is_shared_file_mapping(data, size);
    return wrap(host, std::move(buffer), size);
}

// Plain bytes as in a GGUF file, in memory that the CPU can address. The type does not call itself a "host" buffer
// type, so llama.cpp books it as the device's memory, and every write from outside comes through our buffer
// functions: so packed weights learn that they are out of date.
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
