// SPDX-License-Identifier: MIT
#include "ggml/host/proof_of_tables.hpp"

#include <string>
#include <utility>

namespace rknpu2 {
namespace {

// What the host does with our tables. Entries of a table that differs get arguments that they do not expect, so
// they read none, and find this here.
struct Record {
    std::string called;  // entries, in their order
    std::byte memory[64];
};
constinit Record* record = nullptr;

void note(const char* entry) {
    record->called += entry;
    record->called += ' ';
}

bool were_called(const char* entries) {
    return std::exchange(record->called, {}) == entries;
}

ggml_backend_buffer_i buffer_table() {
    ggml_backend_buffer_i table{};
    table.free_buffer = [](auto...) { note("free"); };
    table.get_base = [](auto...) -> void* { return note("base"), record->memory; };
    table.init_tensor = [](auto...) { return note("init"), GGML_STATUS_SUCCESS; };
    table.memset_tensor = [](auto...) { note("memset"); };
    table.set_tensor = [](auto...) { note("set"); };
    table.get_tensor = [](auto...) { note("get"); };
    table.cpy_tensor = [](auto...) { return note("copy"), true; };
    table.clear = [](auto...) { note("clear"); };
    table.reset = [](auto...) { note("reset"); };
    return table;
}

ggml_backend_buffer_type_i type_table() {
    ggml_backend_buffer_type_i table{};
    table.get_name = [](auto...) { return note("name"), "a type"; };
    table.alloc_buffer = [](auto...) { return note("alloc"), ggml_backend_buffer_t{}; };
    table.get_alignment = [](auto...) { return note("alignment"), size_t{64}; };
    table.is_host = [](auto...) { return false; };
    return table;
}

ggml_backend_i backend_table() {
    ggml_backend_i table{};
    table.get_name = [](auto...) { return note("name"), "a backend"; };
    table.free = [](auto...) { note("free"); };
    table.synchronize = [](auto...) { note("synchronize"); };
    table.graph_compute = [](auto...) { return note("compute"), GGML_STATUS_ABORTED; };
    return table;
}

ggml_backend_device_i device_table() {
    ggml_backend_device_i table{};
    table.get_name = [](auto...) { return note("name"), "a device"; };
    table.get_description = [](auto...) { return note("description"), "for a proof"; };
    table.get_memory = [](auto...) { note("memory"); };
    table.init_backend = [](auto...) { return note("init"), ggml_backend_t{}; };
    table.get_buffer_type = [](auto...) { return note("type"), ggml_backend_buffer_type_t{}; };
    table.supports_op = [](auto...) { return note("op"), true; };
    table.supports_buft = [](auto...) { return note("buft"), true; };
    return table;
}

ggml_backend_reg_i reg_table() {
    return {[](auto...) { return note("name"), "a registry"; },
            [](auto...) { return note("count"), size_t{1}; },
            [](auto...) { return note("get"), ggml_backend_dev_t{}; },
            [](auto...) -> void* { return note("proc"), nullptr; }};
}

bool host_buffer_fits(const GgmlFunctions& ggml, const Abi& abi) {
    const ggml_backend_buffer_type_t type = ggml.ggml_backend_cpu_buffer_type();
    const ggml_backend_buffer_t buffer = ggml.ggml_backend_buft_alloc_buffer(type, 4096);
    if (buffer == nullptr) return false;
    ggml.ggml_backend_buffer_set_usage(buffer, GGML_BACKEND_BUFFER_USAGE_COMPUTE);
    const bool fits = abi.buffer_type(buffer) == type && ggml.ggml_backend_buffer_get_type(buffer) == type &&
                      abi.buffer_size(buffer) == ggml.ggml_backend_buffer_get_size(buffer) &&
                      abi.buffer_usage(buffer) == GGML_BACKEND_BUFFER_USAGE_COMPUTE &&
                      buffer->iface.get_base(buffer) == ggml.ggml_backend_buffer_get_base(buffer) &&
                      type->iface.get_name(type) == ggml.ggml_backend_buft_name(type);
    ggml.ggml_backend_buffer_free(buffer);
    return fits;
}

bool our_buffer_fits(const GgmlFunctions& ggml, const Abi& abi, ggml_tensor* tensor) {
    ggml_backend_buffer_type type{type_table(), nullptr, nullptr};
    auto& memory = record->memory;
    const ggml_backend_buffer_t buffer =
        abi.new_buffer(ggml.ggml_backend_buffer_init, &type, buffer_table(), memory, sizeof memory);
    if (buffer == nullptr) return false;
    bool fits = abi.buffer_type(buffer) == &type && abi.buffer_context(buffer) == memory &&
                abi.buffer_size(buffer) == sizeof memory;
    // A buffer that does not fit is left alone: the host would call whatever stands there.
    if (!fits) return false;
    ggml_tensor other = *tensor;
    tensor->buffer = other.buffer = buffer;
    tensor->data = other.data = memory;
    fits = ggml.ggml_backend_buffer_get_base(buffer) == memory;
    ggml.ggml_backend_buffer_init_tensor(buffer, tensor);
    ggml.ggml_backend_tensor_memset(tensor, 0, 0, 1);
    ggml.ggml_backend_tensor_set(tensor, memory, 0, 1);
    ggml.ggml_backend_tensor_get(tensor, memory, 0, 1);
    ggml.ggml_backend_tensor_copy(tensor, &other);
    ggml.ggml_backend_buffer_clear(buffer, 0);
    ggml.ggml_backend_buffer_reset(buffer);
    ggml.ggml_backend_buffer_free(buffer);
    tensor->buffer = nullptr;
    tensor->data = nullptr;
    return were_called("base init memset set get copy clear reset free ") && fits;
}

bool buffer_type_fits(const GgmlFunctions& ggml) {
    ggml_backend_buffer_type type{type_table(), nullptr, nullptr};
    const bool fits = std::string(ggml.ggml_backend_buft_name(&type)) == "a type" &&
                      ggml.ggml_backend_buft_alloc_buffer(&type, 64) == nullptr;
    return were_called("name alloc ") && fits;
}

bool backend_fits(const GgmlFunctions& ggml, const Abi& abi, ggml_cgraph* graph) {
    ggml_backend_device device{device_table(), nullptr, nullptr};
    ggml_backend backend{};
    abi.write_backend({nullptr, backend_table(), &device, nullptr}, &backend);
    if (abi.backend_device(&backend) != &device || ggml.ggml_backend_get_device(&backend) != &device)
        return false;
    bool fits = std::string(ggml.ggml_backend_name(&backend)) == "a backend";
    ggml.ggml_backend_synchronize(&backend);
    fits = ggml.ggml_backend_graph_compute(&backend, graph) == GGML_STATUS_ABORTED && fits;
    ggml.ggml_backend_free(&backend);
    return were_called("name synchronize compute synchronize free ") && fits;
}

bool device_fits(const GgmlFunctions& ggml, const ggml_tensor* tensor) {
    ggml_backend_reg reg{GGML_BACKEND_API_VERSION, reg_table(), nullptr};
    ggml_backend_device device{device_table(), &reg, nullptr};
    size_t bytes = 0;
    bool fits = ggml.ggml_backend_dev_backend_reg(&device) == &reg &&
                std::string(ggml.ggml_backend_dev_name(&device)) == "a device" &&
                std::string(ggml.ggml_backend_dev_description(&device)) == "for a proof";
    ggml.ggml_backend_dev_memory(&device, &bytes, &bytes);
    fits = ggml.ggml_backend_dev_init(&device, nullptr) == nullptr &&
           ggml.ggml_backend_dev_buffer_type(&device) == nullptr &&
           ggml.ggml_backend_dev_supports_op(&device, tensor) &&
           ggml.ggml_backend_dev_supports_buft(&device, nullptr) && fits;
    return were_called("name description memory init type op buft ") && fits;
}

bool registry_fits(const GgmlFunctions& ggml) {
    ggml_backend_reg reg{GGML_BACKEND_API_VERSION, reg_table(), nullptr};
    const bool fits = std::string(ggml.ggml_backend_reg_name(&reg)) == "a registry" &&
                      ggml.ggml_backend_reg_dev_count(&reg) == 1 &&
                      ggml.ggml_backend_reg_dev_get(&reg, 0) == nullptr &&
                      ggml.ggml_backend_reg_get_proc_address(&reg, "x") == nullptr;
    return were_called("name count get proc ") && fits;
}

}  // namespace

const char* first_table_that_differs(const GgmlFunctions& ggml, const Abi& abi, ggml_tensor* tensor,
                                     ggml_cgraph* graph) {
    Record made{};
    record = &made;
    if (!registry_fits(ggml)) return "a registry's table";
    if (!device_fits(ggml, tensor)) return "a device's table";
    if (!buffer_type_fits(ggml)) return "a buffer type's table";
    if (!host_buffer_fits(ggml, abi)) return "the CPU's buffer";
    if (!our_buffer_fits(ggml, abi, tensor)) return "a buffer's table";
    if (!backend_fits(ggml, abi, graph)) return "a backend's table";
    return nullptr;
}

}  // namespace rknpu2
