// SPDX-License-Identifier: MIT
// What we use of ggml's tensors and graphs, declared by hand, so that the plug-in is compiled without anybody's
// source tree and one binary fits every host.
//
// The structures are laid out as in ggml 0.9.3 to 0.25.3 (tests/ggml/api compares them with ggml's own headers);
// whether a host has them so is proven when it loads us (host/proof.hpp). Operations have other numbers in
// nearly every release: they have no names here, but in host/operations.hpp. Types keep theirs, which are those
// of GGUF files.
#pragma once

#include <cstddef>
#include <cstdint>

inline constexpr int GGML_MAX_DIMS = 4;
inline constexpr int GGML_MAX_SRC = 10;
inline constexpr int GGML_MAX_NAME = 64;
inline constexpr int GGML_MAX_OP_PARAMS = 64;  // bytes
inline constexpr int GGML_MAX_N_THREADS = 512;

// Those that we name ourselves; the table of all is kGgmlTypes (gguf/tensor_types.hpp).
enum ggml_type : uint32_t {
    GGML_TYPE_F32 = 0,
    GGML_TYPE_F16 = 1,
    GGML_TYPE_Q4_0 = 2,
    GGML_TYPE_Q8_0 = 8,
    GGML_TYPE_I32 = 26,
    GGML_TYPE_I64 = 27,
};

enum ggml_op : uint32_t {};

// COMPUTE: a node of a graph whose result is wanted. Older hosts set it nowhere (GgmlFunctions::marks_wanted).
enum ggml_tensor_flag : int32_t {
    GGML_TENSOR_FLAG_OUTPUT = 2,
    GGML_TENSOR_FLAG_PARAM = 4,
    GGML_TENSOR_FLAG_COMPUTE = 16,
};

enum ggml_status : int32_t {
    GGML_STATUS_ALLOC_FAILED = -2,
    GGML_STATUS_FAILED = -1,
    GGML_STATUS_SUCCESS = 0,
    GGML_STATUS_ABORTED = 1,
};

enum ggml_log_level : uint32_t {
    GGML_LOG_LEVEL_DEBUG = 1,
    GGML_LOG_LEVEL_INFO = 2,
    GGML_LOG_LEVEL_WARN = 3,
    GGML_LOG_LEVEL_ERROR = 4,
};

// The lowest precision that a multiplication may use inside; parameters of MUL_MAT since 0.25, zeros before.
enum ggml_prec : int32_t {
    GGML_PREC_UNDEFINED = 0,
    GGML_PREC_F32 = 10,
    GGML_PREC_F16 = 20,
    GGML_PREC_Q8 = 30,
};

enum ggml_op_hint : int32_t { GGML_HINT_SRC0_IS_HADAMARD = 1 };

using ggml_abort_callback = bool (*)(void* data);
using ggml_to_float_t = void (*)(const void* row, float* out, int64_t elements);
using ggml_from_float_t = void (*)(const float* row, void* out, int64_t elements);
using ggml_bitset_t = uint32_t;

struct ggml_backend_buffer;
struct ggml_context;

// Its name may be longer in a host, and fields follow that nobody here reads: a tensor of ours is a HostTensor
// (host/host_tensor.hpp).
struct ggml_tensor {
    ggml_tensor() = default;
    ggml_tensor(const ggml_tensor&) = delete;
    ggml_tensor& operator=(const ggml_tensor&) = delete;

    ggml_type type;
    ggml_backend_buffer* buffer;
    int64_t ne[GGML_MAX_DIMS];  // elements, fastest dimension first
    size_t nb[GGML_MAX_DIMS];   // bytes from one to the next; nb[0]: of a block
    ggml_op op;
    int32_t op_params[GGML_MAX_OP_PARAMS / sizeof(int32_t)];
    int32_t flags;
    ggml_tensor* src[GGML_MAX_SRC];
    ggml_tensor* view_src;  // never a view itself
    size_t view_offs;       // bytes
    void* data;
    char name[GGML_MAX_NAME];
};

// Open addressing, linear probing, as the functions below.
struct ggml_hash_set {
    size_t size;
    ggml_bitset_t* used;
    ggml_tensor** keys;
};

// As large as the larger layout has it. A graph that a host hands us may end before `uid`: Abi::graph_has_uid.
struct ggml_cgraph {
    int size;
    int n_nodes;
    int n_leafs;
    ggml_tensor** nodes;
    ggml_tensor** grads;
    ggml_tensor** grad_accs;
    ggml_tensor** leafs;
    int32_t* use_counts;  // by the key's place in the hash set
    ggml_hash_set visited_hash_set;
    int32_t order;
    uint64_t uid;
};

struct ggml_type_traits {
    const char* type_name;
    int64_t blck_size;
    int64_t blck_size_interleave;
    size_t type_size;
    bool is_quantized;
    ggml_to_float_t to_float;
    ggml_from_float_t from_float_ref;
};

// Parameters of a node that calls a function. GGML_N_TASKS_MAX: each of the threads does, once.
using ggml_custom_op_t = void (*)(ggml_tensor* node, int ith, int nth, void* userdata);
struct ggml_custom_op_params {
    ggml_custom_op_t fun;
    int n_tasks;
    void* userdata;
};
inline constexpr int GGML_N_TASKS_MAX = -1;

struct ggml_init_params {
    size_t mem_size;
    void* mem_buffer;
    bool no_alloc;
};

struct ggml_threadpool;
using ggml_threadpool_t = ggml_threadpool*;
struct ggml_threadpool_params {
    bool cpumask[GGML_MAX_N_THREADS];  // all false: anywhere
    int n_threads;
    int32_t prio;
    uint32_t poll;  // 0 to 100
    bool strict_cpu;
    bool paused;
};

inline size_t ggml_bitset_size(size_t bits) {
    return (bits + 31) / 32;
}
inline bool ggml_bitset_get(const ggml_bitset_t* bitset, size_t bit) {
    return (bitset[bit / 32] >> (bit % 32) & 1U) != 0;
}
inline void ggml_bitset_set(ggml_bitset_t* bitset, size_t bit) {
    bitset[bit / 32] |= 1U << (bit % 32);
}
inline size_t ggml_hash(const ggml_tensor* tensor) {
    return static_cast<size_t>(reinterpret_cast<uintptr_t>(tensor) >> 4);
}

// Looked up at run time (host/imports.hpp), never linked.
extern "C" {
ggml_context* ggml_init(ggml_init_params params);
void ggml_free(ggml_context* context);
ggml_tensor* ggml_new_tensor_2d(ggml_context* context, ggml_type type, int64_t ne0, int64_t ne1);
ggml_tensor* ggml_view_2d(ggml_context* context, ggml_tensor* base, int64_t ne0, int64_t ne1, size_t nb1,
                          size_t offset);
ggml_tensor* ggml_mul_mat(ggml_context* context, ggml_tensor* weight, ggml_tensor* activations);
ggml_tensor* ggml_custom_4d(ggml_context* context, ggml_type type, int64_t ne0, int64_t ne1, int64_t ne2,
                            int64_t ne3, ggml_tensor** sources, int count, ggml_custom_op_t fun, int n_tasks,
                            void* userdata);
ggml_tensor* ggml_set_name(ggml_tensor* tensor, const char* name);
void ggml_set_output(ggml_tensor* tensor);
void ggml_set_param(ggml_tensor* tensor);
ggml_cgraph* ggml_new_graph(ggml_context* context);
void ggml_build_forward_expand(ggml_cgraph* graph, ggml_tensor* result);
ggml_cgraph ggml_graph_view(ggml_cgraph* graph, int first, int last);
ggml_tensor* ggml_graph_node(ggml_cgraph* graph, int index);
int ggml_graph_n_nodes(ggml_cgraph* graph);
size_t ggml_graph_overhead();
size_t ggml_tensor_overhead();
const char* ggml_version();
void ggml_log_internal(ggml_log_level level, const char* format, ...) __attribute__((format(printf, 2, 3)));
size_t ggml_nbytes(const ggml_tensor* tensor);
int64_t ggml_nrows(const ggml_tensor* tensor);
int64_t ggml_nelements(const ggml_tensor* tensor);
bool ggml_is_contiguous(const ggml_tensor* tensor);
const char* ggml_type_name(ggml_type type);
int64_t ggml_blck_size(ggml_type type);
size_t ggml_type_size(ggml_type type);
const ggml_type_traits* ggml_get_type_traits(ggml_type type);
const char* ggml_op_name(ggml_op op);
ggml_threadpool_params ggml_threadpool_params_default(int threads);
ggml_threadpool* ggml_threadpool_new(ggml_threadpool_params* params);
void ggml_threadpool_free(ggml_threadpool* pool);
}
