// SPDX-License-Identifier: MIT
// What we use of ggml's backends: registry, device, buffer type, buffer and backend, declared by hand like
// api/tensors.hpp.
//
// Two of these structures differ between the layouts that we know (host/abi.hpp): since 0.11.0 a buffer's and
// a backend's table have two functions more, in the middle. They stand here as in the newer layout.
#pragma once

#include "ggml/api/tensors.hpp"

inline constexpr int GGML_BACKEND_API_VERSION = 2;

enum ggml_backend_dev_type : uint32_t {
    GGML_BACKEND_DEVICE_TYPE_CPU = 0,
    GGML_BACKEND_DEVICE_TYPE_GPU = 1,
};

enum ggml_backend_buffer_usage : uint32_t {
    GGML_BACKEND_BUFFER_USAGE_ANY = 0,
    GGML_BACKEND_BUFFER_USAGE_WEIGHTS = 1,
    GGML_BACKEND_BUFFER_USAGE_COMPUTE = 2,
};

struct ggml_backend_buffer_type;
struct ggml_backend;
struct ggml_backend_device;
struct ggml_backend_reg;
struct ggml_backend_event;
struct ggml_backend_graph_optimize_params;
using ggml_backend_buffer_type_t = ggml_backend_buffer_type*;
using ggml_backend_buffer_t = ggml_backend_buffer*;
using ggml_backend_t = ggml_backend*;
using ggml_backend_dev_t = ggml_backend_device*;
using ggml_backend_reg_t = ggml_backend_reg*;
using ggml_backend_event_t = ggml_backend_event*;
using ggml_backend_graph_plan_t = void*;
using ggml_guid = uint8_t[16];
using ggml_guid_t = ggml_guid*;

struct ggml_backend_buffer_type_i {
    const char* (*get_name)(ggml_backend_buffer_type_t type);
    ggml_backend_buffer_t (*alloc_buffer)(ggml_backend_buffer_type_t type, size_t size);
    size_t (*get_alignment)(ggml_backend_buffer_type_t type);
    size_t (*get_max_size)(ggml_backend_buffer_type_t type);
    size_t (*get_alloc_size)(ggml_backend_buffer_type_t type, const ggml_tensor* tensor);
    bool (*is_host)(ggml_backend_buffer_type_t type);
};

struct ggml_backend_buffer_type {
    ggml_backend_buffer_type_i iface;
    ggml_backend_dev_t device;
    void* context;
};

struct ggml_backend_buffer_i {
    void (*free_buffer)(ggml_backend_buffer_t buffer);
    void* (*get_base)(ggml_backend_buffer_t buffer);
    ggml_status (*init_tensor)(ggml_backend_buffer_t buffer, ggml_tensor* tensor);
    void (*memset_tensor)(ggml_backend_buffer_t buffer, ggml_tensor* tensor, uint8_t value, size_t offset,
                          size_t size);
    void (*set_tensor)(ggml_backend_buffer_t buffer, ggml_tensor* tensor, const void* data, size_t offset,
                       size_t size);
    void (*get_tensor)(ggml_backend_buffer_t buffer, const ggml_tensor* tensor, void* data, size_t offset,
                       size_t size);
    void (*set_tensor_2d)(ggml_backend_buffer_t buffer, ggml_tensor* tensor, const void* data, size_t offset,
                          size_t size, size_t copies, size_t stride_tensor, size_t stride_data);
    void (*get_tensor_2d)(ggml_backend_buffer_t buffer, const ggml_tensor* tensor, void* data, size_t offset,
                          size_t size, size_t copies, size_t stride_tensor, size_t stride_data);
    bool (*cpy_tensor)(ggml_backend_buffer_t buffer, const ggml_tensor* from, ggml_tensor* to);
    void (*clear)(ggml_backend_buffer_t buffer, uint8_t value);
    void (*reset)(ggml_backend_buffer_t buffer);
};

struct ggml_backend_buffer {
    ggml_backend_buffer_i iface;
    ggml_backend_buffer_type_t buft;
    void* context;
    size_t size;
    ggml_backend_buffer_usage usage;
};

struct ggml_backend_i {
    const char* (*get_name)(ggml_backend_t backend);
    void (*free)(ggml_backend_t backend);
    void (*set_tensor_async)(ggml_backend_t backend, ggml_tensor* tensor, const void* data, size_t offset,
                             size_t size);
    void (*get_tensor_async)(ggml_backend_t backend, const ggml_tensor* tensor, void* data, size_t offset,
                             size_t size);
    void (*set_tensor_2d_async)(ggml_backend_t backend, ggml_tensor* tensor, const void* data, size_t offset,
                                size_t size, size_t copies, size_t stride_tensor, size_t stride_data);
    void (*get_tensor_2d_async)(ggml_backend_t backend, const ggml_tensor* tensor, void* data, size_t offset,
                                size_t size, size_t copies, size_t stride_tensor, size_t stride_data);
    bool (*cpy_tensor_async)(ggml_backend_t from_backend, ggml_backend_t to_backend, const ggml_tensor* from,
                             ggml_tensor* to);
    void (*synchronize)(ggml_backend_t backend);
    ggml_backend_graph_plan_t (*graph_plan_create)(ggml_backend_t backend, const ggml_cgraph* graph);
    void (*graph_plan_free)(ggml_backend_t backend, ggml_backend_graph_plan_t plan);
    void (*graph_plan_update)(ggml_backend_t backend, ggml_backend_graph_plan_t plan,
                              const ggml_cgraph* graph);
    ggml_status (*graph_plan_compute)(ggml_backend_t backend, ggml_backend_graph_plan_t plan);
    ggml_status (*graph_compute)(ggml_backend_t backend, ggml_cgraph* graph);
    void (*event_record)(ggml_backend_t backend, ggml_backend_event_t event);
    void (*event_wait)(ggml_backend_t backend, ggml_backend_event_t event);
    // Hosts before 0.25 pass no third argument: it must not be read.
    void (*graph_optimize)(ggml_backend_t backend, ggml_cgraph* graph,
                           ggml_backend_graph_optimize_params* params);
};

struct ggml_backend {
    ggml_guid_t guid;
    ggml_backend_i iface;
    ggml_backend_dev_t device;
    void* context;
};

struct ggml_backend_dev_caps {
    bool async;
    bool host_buffer;
    bool buffer_from_host_ptr;
    bool events;
    bool mmap_support;  // unread, and within the structure's padding, before it had a name
};

struct ggml_backend_dev_props {
    const char* name;
    const char* description;
    size_t memory_free;
    size_t memory_total;
    ggml_backend_dev_type type;
    const char* device_id;
    ggml_backend_dev_caps caps;
};

struct ggml_backend_device_i {
    const char* (*get_name)(ggml_backend_dev_t device);
    const char* (*get_description)(ggml_backend_dev_t device);
    void (*get_memory)(ggml_backend_dev_t device, size_t* free, size_t* total);
    ggml_backend_dev_type (*get_type)(ggml_backend_dev_t device);
    void (*get_props)(ggml_backend_dev_t device, ggml_backend_dev_props* props);
    ggml_backend_t (*init_backend)(ggml_backend_dev_t device, const char* params);
    ggml_backend_buffer_type_t (*get_buffer_type)(ggml_backend_dev_t device);
    ggml_backend_buffer_type_t (*get_host_buffer_type)(ggml_backend_dev_t device);
    ggml_backend_buffer_t (*buffer_from_host_ptr)(ggml_backend_dev_t device, void* data, size_t size,
                                                  size_t max_tensor_size);
    bool (*supports_op)(ggml_backend_dev_t device, const ggml_tensor* node);
    bool (*supports_buft)(ggml_backend_dev_t device, ggml_backend_buffer_type_t type);
    bool (*offload_op)(ggml_backend_dev_t device, const ggml_tensor* node);
    ggml_backend_event_t (*event_new)(ggml_backend_dev_t device);
    void (*event_free)(ggml_backend_dev_t device, ggml_backend_event_t event);
    void (*event_synchronize)(ggml_backend_dev_t device, ggml_backend_event_t event);
};

struct ggml_backend_device {
    ggml_backend_device_i iface;
    ggml_backend_reg_t reg;
    void* context;
};

struct ggml_backend_reg_i {
    const char* (*get_name)(ggml_backend_reg_t reg);
    size_t (*get_device_count)(ggml_backend_reg_t reg);
    ggml_backend_dev_t (*get_device)(ggml_backend_reg_t reg, size_t index);
    void* (*get_proc_address)(ggml_backend_reg_t reg, const char* name);
};

struct ggml_backend_reg {
    int api_version;
    ggml_backend_reg_i iface;
    void* context;
};

struct ggml_backend_feature {
    const char* name;
    const char* value;
};

using ggml_backend_set_n_threads_t = void (*)(ggml_backend_t backend, int threads);
using ggml_backend_set_abort_callback_t = void (*)(ggml_backend_t backend, ggml_abort_callback callback,
                                                   void* data);
using ggml_backend_get_features_t = ggml_backend_feature* (*)(ggml_backend_reg_t reg);
using ggml_backend_dev_get_extra_bufts_t = ggml_backend_buffer_type_t* (*)(ggml_backend_dev_t device);

extern "C" {
void ggml_backend_cpu_set_threadpool(ggml_backend_t backend, ggml_threadpool_t pool);
ggml_backend_buffer_type_t ggml_backend_cpu_buffer_type();
const char* ggml_backend_buft_name(ggml_backend_buffer_type_t type);
ggml_backend_buffer_t ggml_backend_buft_alloc_buffer(ggml_backend_buffer_type_t type, size_t size);
size_t ggml_backend_buft_get_alignment(ggml_backend_buffer_type_t type);
size_t ggml_backend_buft_get_max_size(ggml_backend_buffer_type_t type);
bool ggml_backend_buft_is_host(ggml_backend_buffer_type_t type);
size_t ggml_backend_buft_get_alloc_size(ggml_backend_buffer_type_t type, const ggml_tensor* tensor);
ggml_backend_buffer_t ggml_backend_buffer_init(ggml_backend_buffer_type_t type, ggml_backend_buffer_i iface,
                                               void* context, size_t size);
void ggml_backend_buffer_free(ggml_backend_buffer_t buffer);
void* ggml_backend_buffer_get_base(ggml_backend_buffer_t buffer);
size_t ggml_backend_buffer_get_size(ggml_backend_buffer_t buffer);
ggml_status ggml_backend_buffer_init_tensor(ggml_backend_buffer_t buffer, ggml_tensor* tensor);
bool ggml_backend_buffer_is_host(ggml_backend_buffer_t buffer);
void ggml_backend_buffer_clear(ggml_backend_buffer_t buffer, uint8_t value);
void ggml_backend_buffer_reset(ggml_backend_buffer_t buffer);
void ggml_backend_buffer_set_usage(ggml_backend_buffer_t buffer, ggml_backend_buffer_usage usage);
ggml_backend_buffer_type_t ggml_backend_buffer_get_type(ggml_backend_buffer_t buffer);
ggml_status ggml_backend_tensor_alloc(ggml_backend_buffer_t buffer, ggml_tensor* tensor, void* address);
void ggml_backend_tensor_memset(ggml_tensor* tensor, uint8_t value, size_t offset, size_t size);
void ggml_backend_tensor_set(ggml_tensor* tensor, const void* data, size_t offset, size_t size);
void ggml_backend_tensor_get(const ggml_tensor* tensor, void* data, size_t offset, size_t size);
void ggml_backend_tensor_copy(const ggml_tensor* from, ggml_tensor* to);
ggml_backend_dev_t ggml_backend_dev_by_type(ggml_backend_dev_type type);
const char* ggml_backend_dev_name(ggml_backend_dev_t device);
const char* ggml_backend_dev_description(ggml_backend_dev_t device);
void ggml_backend_dev_memory(ggml_backend_dev_t device, size_t* free, size_t* total);
void ggml_backend_dev_get_props(ggml_backend_dev_t device, ggml_backend_dev_props* props);
bool ggml_backend_dev_supports_op(ggml_backend_dev_t device, const ggml_tensor* node);
bool ggml_backend_dev_supports_buft(ggml_backend_dev_t device, ggml_backend_buffer_type_t type);
ggml_backend_buffer_type_t ggml_backend_dev_buffer_type(ggml_backend_dev_t device);
ggml_backend_t ggml_backend_dev_init(ggml_backend_dev_t device, const char* params);
ggml_backend_reg_t ggml_backend_dev_backend_reg(ggml_backend_dev_t device);
const char* ggml_backend_reg_name(ggml_backend_reg_t reg);
size_t ggml_backend_reg_dev_count(ggml_backend_reg_t reg);
ggml_backend_dev_t ggml_backend_reg_dev_get(ggml_backend_reg_t reg, size_t index);
void* ggml_backend_reg_get_proc_address(ggml_backend_reg_t reg, const char* name);
const char* ggml_backend_name(ggml_backend_t backend);
ggml_backend_dev_t ggml_backend_get_device(ggml_backend_t backend);
void ggml_backend_synchronize(ggml_backend_t backend);
ggml_status ggml_backend_graph_compute(ggml_backend_t backend, ggml_cgraph* graph);
void ggml_backend_free(ggml_backend_t backend);
}
