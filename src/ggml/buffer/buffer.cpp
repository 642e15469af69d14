// SPDX-License-Identifier: MIT
#include "ggml/buffer/buffer.hpp"

#include <functional>

#include <algorithm>
#include <cstring>

#include "ggml/host/guard.hpp"
#include "ggml/node/describe.hpp"
#include "system/system_memory.hpp"

namespace rknpu2 {
namespace {

// Packed experts leave this part of the machine's memory free: for weights still to be packed, the KV cache,
// and everybody else.
constexpr size_t kReservedShare = 8;

Buffer& of(ggml_backend_buffer_t buffer) {
    return *static_cast<Buffer*>(buffer->context);
}

// Runs a write to the buffer; one that fails poisons it, so that no graph computes with half-written weights.
template <typename Body>
bool write_guarded(Buffer& buffer, const char* operation, const ggml_tensor* tensor, size_t offset,
                   size_t size, Body&& body) noexcept {
    const bool written = guard(*buffer.host, operation, false, [&] {
        auto* const at = static_cast<std::byte*>(tensor->data) + offset;
        buffer.invalidate(static_cast<size_t>(at - buffer.base), size);
        body(at);
        return true;
    });
    if (!written) buffer.poisoned = true;
    return written;
}

void free_buffer(ggml_backend_buffer_t buffer) noexcept {
    Buffer* const ours = &of(buffer);
    guard(*ours->host, "freeing a buffer", false, [&] {
        delete ours;
        return true;
    });
}

void* get_base(ggml_backend_buffer_t buffer) noexcept {
    return of(buffer).base;
}

void memset_tensor(ggml_backend_buffer_t buffer, ggml_tensor* tensor, uint8_t value, size_t offset,
                   size_t size) noexcept {
    write_guarded(of(buffer), "filling a tensor", tensor, offset, size,
                  [&](std::byte* at) { std::memset(at, value, size); });
}

void set_tensor(ggml_backend_buffer_t buffer, ggml_tensor* tensor, const void* data, size_t offset,
                size_t size) noexcept {
    write_guarded(of(buffer), "writing a tensor", tensor, offset, size,
                  [&](std::byte* at) { std::memcpy(at, data, size); });
}

void get_tensor(ggml_backend_buffer_t, const ggml_tensor* tensor, void* data, size_t offset,
                size_t size) noexcept {
    std::memcpy(data, static_cast<const std::byte*>(tensor->data) + offset, size);
}

// From any memory that the CPU can address; false sends ggml the long way round.
bool cpy_tensor(ggml_backend_buffer_t buffer, const ggml_tensor* from, ggml_tensor* to) noexcept {
    Buffer& ours = of(buffer);
    const Host& host = *ours.host;
    if (our_buffer(host, from->buffer) == nullptr && !host.ggml.ggml_backend_buffer_is_host(from->buffer))
        return false;
    const size_t size = host.ggml.ggml_nbytes(from);
    return write_guarded(ours, "copying a tensor", to, 0, size,
                         [&](std::byte* at) { std::memmove(at, from->data, size); });
}

void clear(ggml_backend_buffer_t buffer, uint8_t value) noexcept {
    Buffer& ours = of(buffer);
    const bool cleared = guard(*ours.host, "clearing a buffer", false, [&] {
        ours.invalidate(0, ours.size);
        std::memset(ours.base, value, ours.size);
        return true;
    });
    if (!cleared) ours.poisoned = true;
}

ggml_backend_buffer_t wrap(Host& host, std::unique_ptr<Buffer> buffer) {
    ggml_backend_buffer_i i{};
    i.free_buffer = free_buffer;
    i.get_base = get_base;
    i.memset_tensor = memset_tensor;
    i.set_tensor = set_tensor;
    i.get_tensor = get_tensor;
    i.cpy_tensor = cpy_tensor;
    i.clear = clear;
    const size_t size = buffer->size;
    const ggml_backend_buffer_t made =
        host.ggml.ggml_backend_buffer_init(&host.buffer_type, i, buffer.get(), size);
    if (made == nullptr) return nullptr;
    buffer->handle = made;
    static_cast<void>(buffer.release());  // free_buffer() deletes it
    return made;
}

}  // namespace

Buffer::Buffer(Host& owner) : host(&owner) {
    const std::lock_guard lock(host->buffers_mutex);
    host->buffers.insert(this);
}

Buffer::~Buffer() {
    const std::lock_guard lock(host->buffers_mutex);
    host->buffers.erase(this);
}

namespace {

// The key of a multiplication's weight, or of one expert of a stack. Every multiplication asks for it, so it
// allocates nothing.
WeightKey key_of(const Host& host, const Buffer& buffer, const ggml_tensor* op, int expert) {
    const ggml_tensor* const weight = op->src[0];
    const Recipe recipe = recipe_of(host.config.precision, wants_float_activations(op));
    const auto K = static_cast<size_t>(weight->ne[0]);
    const auto N = static_cast<size_t>(weight->ne[1]);
    const size_t from_stack = expert < 0 ? 0 : static_cast<size_t>(expert) * weight->nb[2];
    const auto stored = static_cast<size_t>(static_cast<const std::byte*>(weight->data) - buffer.base);
    return {stored + from_stack, N * weight->nb[1], static_cast<int>(weight->type), K, N, recipe.arithmetic};
}

}  // namespace

Result<std::shared_ptr<const PackedWeight>> packed_weight(Host& host, const PlannedMatmul& matmul, int expert,
                                                          ReservedWeight* reserved) {
    const ggml_tensor* const weight = matmul.node->src[0];
    Buffer& buffer = *our_buffer(host, weight->buffer);
    const auto pack = [&] {
        return reserved == nullptr ? host.npu->pack(weight_source(host, matmul.node, expert))
                                   : host.npu->pack(std::move(*reserved));
    };
    bool made = false;
    Result<std::shared_ptr<const PackedWeight>> packed =
        buffer.weights.get(key_of(host, buffer, matmul.node, expert), std::ref(pack), made);
    if (made) {
        const WeightSource& source = packed.value()->source;
        // From here on only the packed form is read; the file can bring the raw bytes back if anyone asks for
        // them.
        const bool kept =
            expert >= 0 ? host.config.experts == Experts::kAuto : host.config.matrices == Matrices::kAuto;
        if (buffer.shared_file_mapping && !kept) give_back_pages(source.data, source.bytes());
        log(LogLevel::kDebug, "packed %s %s [%zu, %zu]: %zu bytes", source.name.c_str(),
            source.type_name.c_str(), source.K, source.N, packed.value()->plan.packed_bytes());
    }
    return packed;
}

bool is_packed(const Host& host, const ggml_tensor* op) {
    const Buffer& buffer = *our_buffer(host, op->src[0]->buffer);
    return buffer.weights.contains(key_of(host, buffer, op, -1));
}

bool may_hold_packed(Host& host, const ggml_tensor* stack, size_t packed_bytes) {
    Buffer& buffer = *our_buffer(host, stack->buffer);
    const auto offset = static_cast<size_t>(static_cast<const std::byte*>(stack->data) - buffer.base);
    const std::lock_guard lock(buffer.stacks_mutex);
    if (const auto known = buffer.stacks.find(offset); known != buffer.stacks.end()) return known->second;
    const SystemMemory memory = system_memory();
    const size_t reserve = memory.total / kReservedShare;
    const bool fits = packed_bytes + reserve <= memory.available;
    const bool first = std::none_of(buffer.stacks.begin(), buffer.stacks.end(),
                                    [](const auto& entry) { return !entry.second; });
    if (!fits && first) {
        log(LogLevel::kWarning,
            "%s and maybe others stay with the CPU: packed it takes %zu MiB, and of the %zu MiB available "
            "%zu "
            "are to stay free",
            stack->name, packed_bytes >> 20, memory.available >> 20, reserve >> 20);
    }
    buffer.stacks.emplace(offset, fits);
    return fits;
}

void Buffer::invalidate(size_t offset, size_t bytes) {
    weights.invalidate(offset, bytes);
    copies.invalidate(offset, bytes);
}

std::shared_ptr<const CpuCopy> cpu_copy(Host& host, const ggml_tensor* node) {
    const ggml_tensor* const stack = node->src[0];
    Buffer& buffer = *our_buffer(host, stack->buffer);
    const auto offset = static_cast<size_t>(static_cast<const std::byte*>(stack->data) - buffer.base);
    return buffer.copies.get(host, node, offset, buffer.shared_file_mapping);
}

size_t unpacked_weight_bytes(Host& host) {
    const std::lock_guard lock(host.buffers_mutex);
    size_t bytes = 0;
    for (const Buffer* const buffer : host.buffers) {
        if (buffer->handle == nullptr || buffer->handle->usage != GGML_BACKEND_BUFFER_USAGE_WEIGHTS) continue;
        bytes += buffer->size - std::min(buffer->size, buffer->weights.raw_bytes());
    }
    return bytes;
}

Buffer* our_buffer(const Host& host, const ggml_backend_buffer* buffer) {
    if (buffer == nullptr || buffer->buft != &host.buffer_type) return nullptr;
    return static_cast<Buffer*>(buffer->context);
}

void note_write(const Host& host, const ggml_tensor* tensor) {
    Buffer* const buffer = our_buffer(host, tensor->buffer);
    if (buffer == nullptr || (buffer->weights.empty() && buffer->copies.empty())) return;
    const auto* const at = static_cast<const std::byte*>(tensor->data);
    buffer->invalidate(static_cast<size_t>(at - buffer->base), host.ggml.ggml_nbytes(tensor));
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
    buffer->size = size;
    return wrap(host, std::move(buffer));
}

ggml_backend_buffer_t new_borrowed_buffer(Host& host, void* data, size_t size) {
    auto buffer = std::make_unique<Buffer>(host);
    buffer->base = static_cast<std::byte*>(data);
    buffer->size = size;
    buffer->shared_file_mapping = is_shared_file_mapping(data, size);
    return wrap(host, std::move(buffer));
}

}  // namespace rknpu2
