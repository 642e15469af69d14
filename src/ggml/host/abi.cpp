// SPDX-License-Identifier: MIT
#include "ggml/host/abi.hpp"

#include <bit>

namespace rknpu2 {
namespace {

// The table of a buffer as 0.9.3 to 0.9.11 have it.
struct BufferTable09 {
    decltype(ggml_backend_buffer_i::free_buffer) free_buffer;
    decltype(ggml_backend_buffer_i::get_base) get_base;
    decltype(ggml_backend_buffer_i::init_tensor) init_tensor;
    decltype(ggml_backend_buffer_i::memset_tensor) memset_tensor;
    decltype(ggml_backend_buffer_i::set_tensor) set_tensor;
    decltype(ggml_backend_buffer_i::get_tensor) get_tensor;
    decltype(ggml_backend_buffer_i::cpy_tensor) cpy_tensor;
    decltype(ggml_backend_buffer_i::clear) clear;
    decltype(ggml_backend_buffer_i::reset) reset;
};
static_assert(sizeof(BufferTable09) == kAbis[1].buffer_table());

using BufferInit09 = ggml_backend_buffer_t (*)(ggml_backend_buffer_type_t type, BufferTable09 table,
                                               void* context, size_t size);

// Copies an object without the two pointers at `hole`.
void copy_without_two(const void* from, void* to, size_t hole, size_t bytes) {
    constexpr size_t kTwo = 2 * sizeof(void*);
    std::memcpy(to, from, hole);
    std::memcpy(static_cast<std::byte*>(to) + hole, static_cast<const std::byte*>(from) + hole + kTwo,
                bytes - hole - kTwo);
}

}  // namespace

void Abi::write_backend(const ggml_backend& backend, ggml_backend* memory) const {
    if (tables_have_2d) {
        *memory = backend;
        return;
    }
    constexpr size_t kHole = offsetof(ggml_backend, iface) + offsetof(ggml_backend_i, set_tensor_2d_async);
    copy_without_two(&backend, memory, kHole, sizeof backend);
}

ggml_backend_buffer_t Abi::new_buffer(decltype(&::ggml_backend_buffer_init) init,
                                      ggml_backend_buffer_type_t type, const ggml_backend_buffer_i& table,
                                      void* context, size_t size) const {
    if (tables_have_2d) return init(type, table, context, size);
    const BufferTable09 old{table.free_buffer,   table.get_base,   table.init_tensor,
                            table.memset_tensor, table.set_tensor, table.get_tensor,
                            table.cpy_tensor,    table.clear,      table.reset};
    return std::bit_cast<BufferInit09>(init)(type, old, context, size);
}

}  // namespace rknpu2
