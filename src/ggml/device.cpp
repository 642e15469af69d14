// SPDX-License-Identifier: MIT
// ggml's device object: a GPU-type device, so that -ngl, --device, overrides, split modes and RPC work as
// users know them.
#include <algorithm>

#include "base/format.hpp"
#include "ggml/buffer/buffer.hpp"
#include "ggml/host/guard.hpp"
#include "ggml/node/describe.hpp"
#include "system/system_memory.hpp"

namespace rknpu2 {
namespace {

// Free is what a model's *file bytes* may take here. llama.cpp compares the bytes of the file with what we
// report, but a weight is held packed, in the machine's memory. So what packing adds is taken off first:
// weights that wait to be packed, and, by the forecast's ratio, weights still to come. A smaller packed form
// (int8 from F16) is not counted in our favour.
void get_memory(ggml_backend_dev_t device, size_t* free, size_t* total) noexcept {
    Host& host = host_of(device);
    *free = *total = 0;
    guard(host, "asking for memory", false, [&] {
        const SystemMemory memory = system_memory();
        const double ratio = host.forecast.ratio();
        const double waiting = static_cast<double>(bytes_to_pack(host));
        const double available = std::max(0.0, static_cast<double>(memory.available) - waiting);
        const bool packs = host.config.precision != Precision::kReference;
        const double share = packs ? 1.0 / std::max(1.0, ratio) : 1.0;
        *total = memory.total;
        *free = static_cast<size_t>(available * share);
        return true;
    });
}

void get_props(ggml_backend_dev_t device, ggml_backend_dev_props* props) noexcept {
    *props = {};
    props->name = kDeviceName;
    props->description = host_of(device).description.c_str();
    props->type = GGML_BACKEND_DEVICE_TYPE_GPU;
    get_memory(device, &props->memory_free, &props->memory_total);
    props->caps.buffer_from_host_ptr = true;
    props->caps.mmap_support = true;
}

ggml_backend_t init_backend(ggml_backend_dev_t device, const char*) noexcept {
    Host& host = host_of(device);
    return guard(host, "making a backend", ggml_backend_t{}, [&] { return new_backend(host); });
}

ggml_backend_buffer_t buffer_from_host_ptr(ggml_backend_dev_t device, void* data, size_t size,
                                           size_t) noexcept {
    Host& host = host_of(device);
    return guard(host, "using mapped memory", ggml_backend_buffer_t{},
                 [&] { return new_borrowed_buffer(host, data, size); });
}

// While a model is loaded, llama.cpp asks about each weight once, with a tensor that has no data yet.
void note_weight(Host& host, const ggml_tensor* weight, const MatmulProblem& problem) {
    if (weight->data != nullptr || host.config.precision == Precision::kReference) return;
    const size_t raw_bytes = host.ggml.ggml_nbytes(weight);
    const std::string key =
        format("%s %d %lld %lld %lld", weight->name, static_cast<int>(weight->type),
               static_cast<long long>(weight->ne[0]), static_cast<long long>(weight->ne[1]),
               static_cast<long long>(weight->ne[2]));
    if (problem.experts > 0 && host.config.experts != Experts::kNpu)
        return host.forecast.add_experts(key, raw_bytes);
    const bool expert = problem.experts > 0;
    const Recipe recipe = expert ? recipe_of_expert(host.config.precision) : recipe_of(host.config.precision);
    size_t bytes = plan_weight(problem.N, problem.K, recipe, host.config.cores).packed_bytes();
    if (recipe.arithmetic == NpuArithmetic::kInt4)  // some keep eight bits
        bytes =
            static_cast<size_t>(static_cast<double>(bytes) * host.config.compact_bytes / kLeastCompactBytes);
    host.forecast.add(key, raw_bytes, std::max<size_t>(1, problem.experts) * bytes);
}

// Whole layers stay here: what the NPU does not take runs on the CPU backend that we own. So we say yes to
// what that one supports.
bool supports_op(ggml_backend_dev_t device, const ggml_tensor* op) noexcept {
    Host& host = host_of(device);
    return guard(host, "asking for support", false, [&] {
        const Op kind = host.ggml.op(op);
        if (is_no_op(kind)) return true;
        if (is_matmul(kind)) {
            const MatmulProblem problem = describe(host, op);
            if (support(problem) == Reason::kSupported) {
                note_weight(host, op->src[0], problem);
                return true;
            }
            // The CPU backend says yes to any type of weight and crashes on those that it cannot convert.
            if (!problem.weight_can_be_dequantised) return false;
        }
        const ggml_backend_dev_t cpu = host.cpu_device();
        return cpu != nullptr && host.ggml.ggml_backend_dev_supports_op(cpu, op);
    });
}

}  // namespace

void init_device(Host& host) {
    using Device = ggml_backend_dev_t;
    ggml_backend_device_i& i = host.device.iface;
    i.get_name = [](Device) noexcept { return kDeviceName; };
    i.get_description = [](Device device) noexcept { return host_of(device).description.c_str(); };
    i.get_memory = get_memory;
    i.get_type = [](Device) noexcept { return GGML_BACKEND_DEVICE_TYPE_GPU; };
    i.get_props = get_props;
    i.init_backend = init_backend;
    i.get_buffer_type = [](Device device) noexcept { return &host_of(device).buffer_type; };
    i.buffer_from_host_ptr = buffer_from_host_ptr;
    i.supports_op = supports_op;
    // Ours only: accepting any host memory would make the scheduler pull neighbouring operations over.
    i.supports_buft = [](Device device, ggml_backend_buffer_type_t type) noexcept {
        return type == &host_of(device).buffer_type;
    };
    host.device.reg = &host.reg;
    host.device.context = &host;
}

}  // namespace rknpu2
