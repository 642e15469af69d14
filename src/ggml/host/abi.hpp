// SPDX-License-Identifier: MIT
// How a host lays out the structures that changed: two layouts since September 2025.
//
// ggml's own API number does not tell them apart: it is 2 for both. Which one a host has is found, and proven,
// when it loads us (proof.hpp). What both have in common stands in ggml/api.
#pragma once

#include <array>
#include <cstddef>
#include <cstring>

#include "ggml/api/backends.hpp"

namespace rknpu2 {

struct Abi {
    const char* releases;  // of ggml, such as "0.9.3 to 0.9.11"
    bool tables_have_2d;   // have the tables of buffers and backends functions for strided copies?
    bool graph_has_uid;

    // Bytes of the two tables; of a graph.
    constexpr size_t buffer_table() const {
        return sizeof(ggml_backend_buffer_i) - (tables_have_2d ? 0 : 2 * sizeof(void*));
    }
    constexpr size_t backend_table() const {
        return sizeof(ggml_backend_i) - (tables_have_2d ? 0 : 2 * sizeof(void*));
    }
    constexpr size_t graph() const { return sizeof(ggml_cgraph) - (graph_has_uid ? 0 : sizeof(uint64_t)); }

    // Fields of a buffer and of a backend, whose first bytes are the table (a backend's: a GUID, then the table).
    ggml_backend_buffer_type_t buffer_type(const ggml_backend_buffer* buffer) const {
        return field<ggml_backend_buffer_type_t>(buffer, buffer_table());
    }
    void* buffer_context(const ggml_backend_buffer* buffer) const {
        return field<void*>(buffer, buffer_table() + sizeof(void*));
    }
    size_t buffer_size(const ggml_backend_buffer* buffer) const {
        return field<size_t>(buffer, buffer_table() + 2 * sizeof(void*));
    }
    ggml_backend_buffer_usage buffer_usage(const ggml_backend_buffer* buffer) const {
        return field<ggml_backend_buffer_usage>(buffer, buffer_table() + 3 * sizeof(void*));
    }
    ggml_backend_dev_t backend_device(const ggml_backend* backend) const {
        return field<ggml_backend_dev_t>(backend, sizeof(void*) + backend_table());
    }

    // Writes a backend as the host has it into `memory`, which has room for a ggml_backend.
    void write_backend(const ggml_backend& backend, ggml_backend* memory) const;
    // Makes a buffer with the host's own function.
    ggml_backend_buffer_t new_buffer(decltype(&::ggml_backend_buffer_init) init,
                                     ggml_backend_buffer_type_t type, const ggml_backend_buffer_i& table,
                                     void* context, size_t size) const;

  private:
    template <typename T>
    static T field(const void* object, size_t offset) {
        T value;
        constexpr size_t kBytes = sizeof(T);  // NOLINT(bugprone-sizeof-expression): a pointer's, too
        std::memcpy(&value, static_cast<const std::byte*>(object) + offset, kBytes);
        return value;
    }
};

// The newest first.
inline constexpr std::array kAbis = {Abi{"0.11.0 to 0.25.3", true, true},
                                     Abi{"0.9.3 to 0.9.11", false, false}};

}  // namespace rknpu2
