// SPDX-License-Identifier: MIT
// A host that differs from every ggml that we know, for layouts_test.cpp: the stock libraries, with functions of
// this one before theirs. The environment's DIFFERS says in what; nothing: in nothing.
//
// stub_load(path) loads a plug-in as ggml does, from inside this library. The plug-in looks functions up here and
// in what this library needs.
#include <dlfcn.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>

#include "ggml-backend-impl.h"
#include "ggml-impl.h"

#define EXPORT extern "C" __attribute__((visibility("default")))
// The stock function of this name.
#define REAL(name) reinterpret_cast<decltype(&::name)>(dlsym(RTLD_NEXT, #name))

namespace {

bool differs(const char* in) {
    const char* const said = std::getenv("DIFFERS");
    return said != nullptr && std::strcmp(said, in) == 0;
}

// A ggml whose tensors are of another size: bytes of the name, and of what is new in front of it and behind.
struct Tensors {
    const char* in;
    size_t name = GGML_MAX_NAME, in_front = 0, behind = 0;

    size_t more() const { return name - GGML_MAX_NAME + in_front + behind; }
};
const Tensors& tensors() {
    static constexpr Tensors kKnown[] = {{"longer names", 128},
                                         {"the longest names", 256},
                                         {"names that are too long", 264},
                                         {"a shorter tensor", 48},
                                         {"a larger tensor", 64, 0, 16},
                                         {"as large as with longer names", 64, 0, 64},
                                         {"longer names, and more behind", 128, 0, 8},
                                         {"longer names behind more", 128, 8}};
    static constexpr Tensors kStock = {""};
    for (const Tensors& known : kKnown)
        if (differs(known.in)) return known;
    return kStock;
}

// Objects of a ggml that has put something in between: `bytes` of it at `at`.
template <typename T>
T* with_a_hole(const T& object, size_t at, size_t bytes) {
    static std::array<std::byte, sizeof(T) + 64> memory;
    const auto* const from = reinterpret_cast<const std::byte*>(&object);
    std::memcpy(memory.data(), from, at);
    std::memset(memory.data() + at, 0x5a, bytes);
    std::memcpy(memory.data() + at + bytes, from + at, sizeof(T) - at);
    return reinterpret_cast<T*>(memory.data());
}

// Two fields of one size, whatever their types.
template <typename A, typename B>
void swap_fields(A& one, B& other) {
    constexpr size_t kBytes = sizeof(A);  // NOLINT(bugprone-sizeof-expression): a pointer's, too
    static_assert(kBytes == sizeof(B));   // NOLINT(bugprone-sizeof-expression)
    const A kept = one;
    std::memcpy(&one, &other, kBytes);
    std::memcpy(&other, &kept, kBytes);
}

// An object as a ggml sees it whose table has one entry more at its begin, the table's first word being `first`.
template <typename T>
T* of_larger_table(T* object, const char* kind, size_t first = 0) {
    if (!differs((std::string("a larger table of a ") + kind).c_str())) return object;
    static std::array<std::byte, sizeof(T)> memory;
    const size_t at = first * sizeof(void*);
    std::memcpy(memory.data(), object, at);
    std::memcpy(memory.data() + at, reinterpret_cast<const std::byte*>(object) + at + sizeof(void*),
                sizeof(T) - at);
    return reinterpret_cast<T*>(memory.data());
}

}  // namespace

EXPORT size_t ggml_tensor_overhead(void) {
    return REAL(ggml_tensor_overhead)() + tensors().more();
}

EXPORT const char* ggml_op_name(enum ggml_op op) {
    if (differs("no MUL_MAT") && op == GGML_OP_MUL_MAT) return "MATRIX_PRODUCT";
    if (differs("no last operation") && op == GGML_OP_GLU) return "GATE";
    if (differs("an operation twice") && op == GGML_OP_ADD_ID) return "ADD";
    // Behind the end of a table may be anything.
    if (op >= GGML_OP_COUNT)
        return reinterpret_cast<const char*>(uintptr_t{op});  // NOLINT(performance-no-int-to-ptr)
    return REAL(ggml_op_name)(op);
}

EXPORT const char* ggml_type_name(enum ggml_type type) {
    return differs("a type's name") && type == GGML_TYPE_Q4_0 ? "q4_x" : REAL(ggml_type_name)(type);
}

EXPORT int64_t ggml_blck_size(enum ggml_type type) {
    return REAL(ggml_blck_size)(type) * (differs("a type's block") && type == GGML_TYPE_Q6_K ? 2 : 1);
}

EXPORT const struct ggml_type_traits* ggml_get_type_traits(enum ggml_type type) {
    const ggml_type_traits* const traits = REAL(ggml_get_type_traits)(type);
    if (differs("the traits")) return with_a_hole(*traits, offsetof(ggml_type_traits, type_size), 8);
    if (differs("a moved conversion"))
        return with_a_hole(*traits, offsetof(ggml_type_traits, to_float), sizeof(void*));
    static ggml_type_traits changed;
    changed = *traits;
    if (differs("another function for a conversion"))
        changed.to_float = reinterpret_cast<ggml_to_float_t>(traits->from_float_ref);
    if (differs("no conversion")) changed.to_float = nullptr;
    if (differs("another conversion")) {
        changed.to_float = [](const void*, float* out, int64_t) { *out = 2; };
    }
    return &changed;
}

EXPORT struct ggml_tensor* ggml_new_tensor_2d(struct ggml_context* context, enum ggml_type type, int64_t ne0,
                                              int64_t ne1) {
    ggml_tensor* tensor = REAL(ggml_new_tensor_2d)(context, type, ne0, ne1);
    static std::array<std::array<ggml_tensor, 2>, 4> larger;
    static size_t made = 0;
    if (tensors().more() != 0) {
        ggml_tensor* const copy = larger[made++ % larger.size()].data();
        *copy = *tensor;
        tensor = copy;
    }
    if (type != GGML_TYPE_F16) return tensor;
    if (differs("the shape")) std::swap(tensor->ne[0], tensor->ne[1]);
    if (differs("the strides")) tensor->nb[1] += 64;
    if (differs("the type")) tensor->type = GGML_TYPE_BF16;
    if (differs("the memory")) tensor->extra = std::exchange(tensor->data, tensor);
    return tensor;
}

EXPORT struct ggml_tensor* ggml_set_name(struct ggml_tensor* tensor, const char* name) {
    const Tensors& are = tensors();
    const std::string text =
        ((differs("the name") ? "12345678" : "") + std::string(name)).substr(0, are.name - 1);
    auto* const at = reinterpret_cast<std::byte*>(tensor) + offsetof(ggml_tensor, name) + are.in_front;
    std::memcpy(at, text.c_str(), text.size() + 1);
    return tensor;
}

EXPORT size_t ggml_nbytes(const struct ggml_tensor* tensor) {
    return REAL(ggml_nbytes)(tensor) + (differs("the size") ? 32 : 0);
}

EXPORT struct ggml_tensor* ggml_mul_mat(struct ggml_context* context, struct ggml_tensor* a,
                                        struct ggml_tensor* b) {
    ggml_tensor* const product = REAL(ggml_mul_mat)(context, a, b);
    if (differs("the operation")) product->op = GGML_OP_ADD;
    if (differs("the sources")) std::swap(product->src[0], product->src[1]);
    if (differs("more sources")) product->src[GGML_MAX_SRC - 1] = a;
    return product;
}

EXPORT struct ggml_tensor* ggml_custom_4d(struct ggml_context* context, enum ggml_type type, int64_t ne0,
                                          int64_t ne1, int64_t ne2, int64_t ne3, struct ggml_tensor** args,
                                          int n_args, ggml_custom_op_t fun, int n_tasks, void* userdata) {
    ggml_tensor* const node =
        REAL(ggml_custom_4d)(context, type, ne0, ne1, ne2, ne3, args, n_args, fun, n_tasks, userdata);
    if (differs("no functions as nodes")) node->op = GGML_OP_MAP_CUSTOM1;
    if (!differs("the parameters of a function")) return node;
    ggml_custom_op_params parameters;
    std::memcpy(&parameters, node->op_params, sizeof parameters);
    swap_fields(parameters.fun, parameters.userdata);
    std::memcpy(node->op_params, &parameters, sizeof parameters);
    return node;
}

EXPORT enum ggml_status ggml_backend_graph_compute(ggml_backend_t backend, struct ggml_cgraph* graph) {
    const auto compute = REAL(ggml_backend_graph_compute);
    const bool calls = graph->n_nodes > 0 && graph->nodes[0]->op == GGML_OP_CUSTOM;
    if (calls && differs("a function that is called twice")) compute(backend, graph);
    return compute(backend, graph);
}

EXPORT struct ggml_tensor* ggml_view_2d(struct ggml_context* context, struct ggml_tensor* base, int64_t ne0,
                                        int64_t ne1, size_t nb1, size_t offset) {
    ggml_tensor* const view = REAL(ggml_view_2d)(context, base, ne0, ne1, nb1, offset);
    if (differs("a view")) view->view_offs = 0;
    return view;
}

EXPORT void ggml_set_output(struct ggml_tensor* tensor) {
    tensor->flags |= differs("the output's flag") ? 64 : GGML_TENSOR_FLAG_OUTPUT;
}

EXPORT void ggml_set_param(struct ggml_tensor* tensor) {
    tensor->flags |= differs("the parameter's flag") ? 64 : GGML_TENSOR_FLAG_PARAM;
}

EXPORT void ggml_build_forward_expand(struct ggml_cgraph* graph, struct ggml_tensor* result) {
    REAL(ggml_build_forward_expand)(graph, result);
    if (result->view_src != nullptr) return;
    if (differs("the count of nodes")) ++graph->n_nodes;
    if (differs("the nodes")) std::swap(graph->nodes[0], graph->nodes[1]);
    if (differs("a larger graph")) ++graph->nodes;
    if (differs("another order of a set"))
        swap_fields(graph->visited_hash_set.used, graph->visited_hash_set.size);
    if (differs("another order of a set's pointers"))
        swap_fields(graph->visited_hash_set.used, graph->use_counts);
    if (differs("the counts of uses")) std::memset(graph->use_counts, 0, 4 * graph->visited_hash_set.size);
    if (differs("no counts of uses")) graph->use_counts = nullptr;
}

EXPORT struct ggml_cgraph ggml_graph_view(struct ggml_cgraph* graph, int first, int last) {
    ggml_cgraph part = REAL(ggml_graph_view)(graph, first, last);
    if (differs("a view of a graph")) part.use_counts = nullptr;
    return part;
}

EXPORT ggml_backend_buffer_t ggml_backend_buft_alloc_buffer(ggml_backend_buffer_type_t type, size_t size) {
    const ggml_backend_buffer_t buffer = REAL(ggml_backend_buft_alloc_buffer)(type, size);
    if (type != ggml_backend_cpu_buffer_type() || !differs("the CPU's buffer")) return buffer;
    return with_a_hole(*buffer, offsetof(ggml_backend_buffer, buft), 8);
}

EXPORT void ggml_backend_buffer_set_usage(ggml_backend_buffer_t buffer,
                                          enum ggml_backend_buffer_usage usage) {
    if (!differs("a buffer's usage")) buffer->usage = usage;
}

EXPORT void ggml_backend_buffer_free(ggml_backend_buffer_t buffer) {
    const bool has_a_hole = reinterpret_cast<uintptr_t>(buffer->buft) == 0x5a5a5a5a5a5a5a5a;
    if (!has_a_hole) REAL(ggml_backend_buffer_free)(buffer);
}

EXPORT void ggml_backend_tensor_set(struct ggml_tensor* tensor, const void* data, size_t offset,
                                    size_t size) {
    if (differs("an entry of a buffer")) {
        tensor->buffer->iface.memset_tensor(tensor->buffer, tensor, 0, offset, size);
    } else {
        REAL(ggml_backend_tensor_set)(tensor, data, offset, size);
    }
}

EXPORT enum ggml_status ggml_backend_tensor_alloc(ggml_backend_buffer_t buffer, struct ggml_tensor* tensor,
                                                  void* address) {
    const ggml_status status = REAL(ggml_backend_tensor_alloc)(buffer, tensor, address);
    if (differs("a tensor's buffer")) swap_fields(tensor->extra, tensor->buffer);
    return status;
}

EXPORT ggml_backend_buffer_t ggml_backend_buffer_init(ggml_backend_buffer_type_t type,
                                                      struct ggml_backend_buffer_i table, void* context,
                                                      size_t size) {
    if (differs("another order of a buffer")) swap_fields(table.free_buffer, table.get_base);
    const ggml_backend_buffer_t buffer = REAL(ggml_backend_buffer_init)(type, table, context, size);
    return differs("a larger table of a buffer")
               ? with_a_hole(*buffer, offsetof(ggml_backend_buffer, iface.clear), sizeof(void*))
               : buffer;
}

EXPORT ggml_backend_dev_t ggml_backend_get_device(ggml_backend_t backend) {
    return differs("a backend's device")
               ? static_cast<ggml_backend_dev_t>(backend->context)
               : REAL(ggml_backend_get_device)(of_larger_table(backend, "backend", 1));
}

EXPORT void ggml_backend_dev_get_props(ggml_backend_dev_t device, struct ggml_backend_dev_props* props) {
    REAL(ggml_backend_dev_get_props)(device, props);
    if (differs("a device's properties")) std::memset(props + 1, 0, sizeof(void*));
}

EXPORT ggml_backend_reg_t ggml_backend_dev_backend_reg(ggml_backend_dev_t device) {
    return REAL(ggml_backend_dev_backend_reg)(of_larger_table(device, "device"));
}

EXPORT void ggml_backend_dev_memory(ggml_backend_dev_t device, size_t* free, size_t* total) {
    REAL(ggml_backend_dev_memory)(of_larger_table(device, "device that hides it"), free, total);
}

EXPORT void* ggml_backend_reg_get_proc_address(ggml_backend_reg_t reg, const char* name) {
    return REAL(ggml_backend_reg_get_proc_address)(of_larger_table(reg, "registry", 1), name);
}

EXPORT size_t ggml_backend_buft_get_alloc_size(ggml_backend_buffer_type_t type,
                                               const struct ggml_tensor* tensor) {
    return REAL(ggml_backend_buft_get_alloc_size)(of_larger_table(type, "buffer type"), tensor);
}

EXPORT void ggml_backend_synchronize(ggml_backend_t backend) {
    if (!differs("an entry of a backend")) REAL(ggml_backend_synchronize)(backend);
}

EXPORT bool ggml_backend_dev_supports_op(ggml_backend_dev_t device, const struct ggml_tensor* node) {
    return differs("an entry of a device") ? device->iface.supports_buft(device, nullptr)
                                           : REAL(ggml_backend_dev_supports_op)(device, node);
}

EXPORT size_t ggml_backend_reg_dev_count(ggml_backend_reg_t reg) {
    return differs("an entry of a registry") ? 0 : REAL(ggml_backend_reg_dev_count)(reg);
}

EXPORT const char* ggml_backend_buft_name(ggml_backend_buffer_type_t type) {
    return differs("a buffer type's name") ? "another" : REAL(ggml_backend_buft_name)(type);
}

EXPORT const char* ggml_version(void) {
    if (differs("no version")) return nullptr;
    return differs("a release of tomorrow") ? "0.99.0" : REAL(ggml_version)();
}

// What ggml_backend_init() of the plug-in answers.
EXPORT void* stub_load(const char* path) {
    void* const library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) {
        std::fprintf(stderr, "%s\n", dlerror());
        return nullptr;
    }
    const auto init = reinterpret_cast<void* (*)()>(dlsym(library, "ggml_backend_init"));
    void* const answer = init != nullptr ? init() : nullptr;
    std::fflush(stderr);  // no tail call: the plug-in looks at its return address
    return answer;
}

// For programs that load a plug-in by ggml's own function.
EXPORT ggml_backend_reg_t ggml_backend_load(const char* path) {
    if (differs("a crash")) std::abort();
    return static_cast<ggml_backend_reg_t>(stub_load(path));
}
