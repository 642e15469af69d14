#include "ggml/buffer.hpp"

#include <algorithm>
#include <cstring>

#include "base/system_memory.hpp"
#include "ggml/guard.hpp"

namespace rknpu2 {
namespace {

Buffer& of(ggml_backend_buffer_t buffer) {
    return *static_cast<Buffer*>(buffer->context);
}

// Runs a write to the buffer; one that fails poisons it, so that no graph computes with half-written weights.
template <typename Body>
bool write_guarded(Buffer& buffer, const char* operation, const ggml_tensor* tensor, size_t offset,
                   size_t size, Body&& body) noexcept {
    const bool written = guard(*buffer.host, operation, false, [&] {
        auto* const at = static_cast<std::byte*>(tensor->data) + offset;
        buffer.weights.invalidate(static_cast<size_t>(at - buffer.base), size);
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
        ours.weights.invalidate(0, ours.size);
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
    if (buffer == nullptr || buffer->weights.empty()) return;
    const auto* const at = static_cast<const std::byte*>(tensor->data);
    buffer->weights.invalidate(static_cast<size_t>(at - buffer->base), host.ggml.ggml_nbytes(tensor));
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
