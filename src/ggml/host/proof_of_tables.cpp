// SPDX-License-Identifier: MIT
#include "ggml/host/proof_of_tables.hpp"

#include <algorithm>
#include <initializer_list>
#include <utility>

#include "ggml/host/host_tensor.hpp"

namespace rknpu2 {
namespace {

// Objects of ours for the host's functions. Each word of one is the address of an entry, but for those that are written
// over: a host with more entries than we know, or in another order, finds one wherever it looks. Entries read no
// argument, note their number, and all give one answer.
constexpr size_t kWords = 32;
using Words = std::array<uintptr_t, kWords>;

struct Record {
    std::array<size_t, kWords> called;  // numbers of words, in their order
    size_t calls;
    uintptr_t answer;
    // A byte behind a round address: as an answer it is true, too.
    alignas(256) std::byte memory[4096];
};
constinit Record* record = nullptr;

template <size_t word>
uintptr_t entry() {
    record->called[record->calls++ % kWords] = word;
    return record->answer;
}

template <size_t... word>
Words entries(std::index_sequence<word...>) {
    return {reinterpret_cast<uintptr_t>(&entry<word>)...};
}
Words entries() {
    return entries(std::make_index_sequence<kWords>());
}

// What our declarations say of the first words of an object.
template <typename T>
T newest(const Words& words) {
    T object;
    static_assert(sizeof object <= sizeof words);
    std::memcpy(static_cast<void*>(&object), &words, sizeof object);
    return object;
}

template <typename T>
uintptr_t word(T* pointer) {
    return reinterpret_cast<uintptr_t>(pointer);
}

#define RKNPU2_WORD(structure, field) (offsetof(structure, field) / sizeof(void*))

// Were these called since the last question, and no other?
bool were_called(std::initializer_list<size_t> words) {
    const size_t calls = std::exchange(record->calls, 0);
    return calls == words.size() && std::equal(words.begin(), words.end(), record->called.begin());
}

bool registry_fits(const GgmlFunctions& ggml) {
    Words words = entries();
    words[0] = GGML_BACKEND_API_VERSION;
    auto* const reg = reinterpret_cast<ggml_backend_reg_t>(words.data());
    record->answer = 0;
    ggml.ggml_backend_reg_name(reg);
    ggml.ggml_backend_reg_dev_count(reg);
    ggml.ggml_backend_reg_dev_get(reg, 0);
    ggml.ggml_backend_reg_get_proc_address(reg, "x");
    return were_called({RKNPU2_WORD(ggml_backend_reg, iface.get_name),
                        RKNPU2_WORD(ggml_backend_reg, iface.get_device_count),
                        RKNPU2_WORD(ggml_backend_reg, iface.get_device),
                        RKNPU2_WORD(ggml_backend_reg, iface.get_proc_address)});
}

// The registry lies behind the table: so that is its size.
bool device_fits(const GgmlFunctions& ggml, const ggml_tensor* tensor) {
    Words words = entries();
    auto* const device = reinterpret_cast<ggml_backend_dev_t>(words.data());
    size_t bytes = 0;
    record->answer = 0;
    if (word(ggml.ggml_backend_dev_backend_reg(device)) != words[RKNPU2_WORD(ggml_backend_device, reg)])
        return false;
    ggml.ggml_backend_dev_name(device);
    ggml.ggml_backend_dev_description(device);
    ggml.ggml_backend_dev_memory(device, &bytes, &bytes);
    ggml.ggml_backend_dev_init(device, nullptr);
    ggml.ggml_backend_dev_buffer_type(device);
    ggml.ggml_backend_dev_supports_op(device, tensor);
    ggml.ggml_backend_dev_supports_buft(device, nullptr);
    return were_called({RKNPU2_WORD(ggml_backend_device, iface.get_name),
                        RKNPU2_WORD(ggml_backend_device, iface.get_description),
                        RKNPU2_WORD(ggml_backend_device, iface.get_memory),
                        RKNPU2_WORD(ggml_backend_device, iface.init_backend),
                        RKNPU2_WORD(ggml_backend_device, iface.get_buffer_type),
                        RKNPU2_WORD(ggml_backend_device, iface.supports_op),
                        RKNPU2_WORD(ggml_backend_device, iface.supports_buft)});
}

// The host clears the properties before it asks for them: so many bytes it thinks they have.
bool properties_fit(const GgmlFunctions& ggml) {
    Words words = entries();
    auto* const device = reinterpret_cast<ggml_backend_dev_t>(words.data());
    constexpr std::byte kUntouched{0x5a};
    std::byte* const bytes = record->memory;
    std::fill_n(bytes, sizeof record->memory, kUntouched);
    ggml.ggml_backend_dev_get_props(device, reinterpret_cast<ggml_backend_dev_props*>(bytes));
    const std::byte* const end = std::find(bytes, std::end(record->memory), kUntouched);
    return were_called({RKNPU2_WORD(ggml_backend_device, iface.get_props)}) &&
           end - bytes == sizeof(ggml_backend_dev_props);
}

bool buffer_type_fits(const GgmlFunctions& ggml, Words& words, const ggml_tensor* tensor) {
    auto* const type = reinterpret_cast<ggml_backend_buffer_type_t>(words.data());
    record->answer = ggml.ggml_nbytes(tensor);  // hosts accept no other size
    ggml.ggml_backend_buft_name(type);
    ggml.ggml_backend_buft_alloc_buffer(type, 64);
    ggml.ggml_backend_buft_get_alignment(type);
    ggml.ggml_backend_buft_get_max_size(type);
    ggml.ggml_backend_buft_get_alloc_size(type, tensor);
    ggml.ggml_backend_buft_is_host(type);
    return were_called({RKNPU2_WORD(ggml_backend_buffer_type, iface.get_name),
                        RKNPU2_WORD(ggml_backend_buffer_type, iface.alloc_buffer),
                        RKNPU2_WORD(ggml_backend_buffer_type, iface.get_alignment),
                        RKNPU2_WORD(ggml_backend_buffer_type, iface.get_max_size),
                        RKNPU2_WORD(ggml_backend_buffer_type, iface.get_alloc_size),
                        RKNPU2_WORD(ggml_backend_buffer_type, iface.is_host)});
}

// The host calls our entries, before we call its own. A buffer that does not fit is left alone: the host would call
// whatever stands there.
const char* our_buffer_differs(const GgmlFunctions& ggml, const Abi& abi, ggml_tensor* tensor) {
    constexpr const char* kTable = "a buffer's table";
    Words type_words = entries();
    type_words[RKNPU2_WORD(ggml_backend_buffer_type, device)] = 0;
    if (!buffer_type_fits(ggml, type_words, tensor)) return "a buffer type's table";
    auto* const type = reinterpret_cast<ggml_backend_buffer_type_t>(type_words.data());
    std::byte* const memory = &record->memory[1];
    const size_t size = sizeof record->memory - 1;
    const ggml_backend_buffer_t buffer = abi.new_buffer(
        ggml.ggml_backend_buffer_init, type, newest<ggml_backend_buffer_i>(entries()), memory, size);
    if (buffer == nullptr || abi.buffer_type(buffer) != type || abi.buffer_context(buffer) != memory ||
        abi.buffer_size(buffer) != size)
        return kTable;
    record->answer = word(memory);
    if (ggml.ggml_backend_buffer_get_base(buffer) != memory ||
        !were_called({RKNPU2_WORD(ggml_backend_buffer_i, get_base)}))
        return kTable;
    // Without these two entries a type is no host's memory, and adds nothing to a tensor's size.
    type_words[RKNPU2_WORD(ggml_backend_buffer_type, iface.is_host)] = 0;
    type_words[RKNPU2_WORD(ggml_backend_buffer_type, iface.get_alloc_size)] = 0;
    ggml.ggml_backend_tensor_alloc(buffer, tensor, memory);
    record->calls = 0;
    if (tensor->buffer != buffer || tensor->data != memory) return "a tensor's memory";
    HostTensor other(ggml, *tensor);
    ggml.ggml_backend_buffer_init_tensor(buffer, tensor);
    ggml.ggml_backend_tensor_memset(tensor, 0, 0, 1);
    ggml.ggml_backend_tensor_set(tensor, memory, 0, 1);
    ggml.ggml_backend_tensor_get(tensor, memory, 0, 1);
    ggml.ggml_backend_tensor_copy(tensor, other.get());
    ggml.ggml_backend_buffer_clear(buffer, 0);
    ggml.ggml_backend_buffer_reset(buffer);
    ggml.ggml_backend_buffer_free(buffer);
    tensor->buffer = nullptr;
    tensor->data = nullptr;
    const bool fits = were_called(
        {RKNPU2_WORD(ggml_backend_buffer_i, init_tensor), RKNPU2_WORD(ggml_backend_buffer_i, memset_tensor),
         RKNPU2_WORD(ggml_backend_buffer_i, set_tensor), RKNPU2_WORD(ggml_backend_buffer_i, get_tensor),
         RKNPU2_WORD(ggml_backend_buffer_i, cpy_tensor), RKNPU2_WORD(ggml_backend_buffer_i, clear),
         RKNPU2_WORD(ggml_backend_buffer_i, reset), RKNPU2_WORD(ggml_backend_buffer_i, free_buffer)});
    return fits ? nullptr : kTable;
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

// The device lies behind the table: so that is its size.
bool backend_fits(const GgmlFunctions& ggml, const Abi& abi, ggml_cgraph* graph) {
    Words words = entries();
    auto* const backend = reinterpret_cast<ggml_backend_t>(words.data());
    const auto written = newest<ggml_backend>(words);
    abi.write_backend(written, backend);
    if (abi.backend_device(backend) != written.device ||
        ggml.ggml_backend_get_device(backend) != written.device)
        return false;
    record->answer = 0;
    ggml.ggml_backend_name(backend);
    ggml.ggml_backend_synchronize(backend);
    ggml.ggml_backend_graph_compute(backend, graph);
    ggml.ggml_backend_free(backend);
    return were_called({RKNPU2_WORD(ggml_backend, iface.get_name),
                        RKNPU2_WORD(ggml_backend, iface.synchronize),
                        RKNPU2_WORD(ggml_backend, iface.graph_compute),
                        RKNPU2_WORD(ggml_backend, iface.synchronize), RKNPU2_WORD(ggml_backend, iface.free)});
}

}  // namespace

const char* first_table_that_differs(const GgmlFunctions& ggml, const Abi& abi, ggml_tensor* tensor,
                                     ggml_cgraph* graph) {
    Record made{};
    record = &made;
    if (!registry_fits(ggml)) return "a registry's table";
    if (!device_fits(ggml, tensor)) return "a device's table";
    if (!properties_fit(ggml)) return "a device's properties";
    if (const char* const differs = our_buffer_differs(ggml, abi, tensor)) return differs;
    if (!host_buffer_fits(ggml, abi)) return "the CPU's buffer";
    if (!backend_fits(ggml, abi, graph)) return "a backend's table";
    return nullptr;
}

}  // namespace rknpu2
