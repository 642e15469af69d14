// SPDX-License-Identifier: MIT
// One ggml that has loaded us: its functions, and the registry, device and buffer type that we show to it.
//
// Usually there is one; a process with two copies of ggml has two, which share the NPU and nothing else.
// Hosts live until the process ends: ggml keeps pointers into them. Every ggml object of ours carries its
// Host as its context.
#pragma once

#include <algorithm>
#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>

#include "attention/refusals.hpp"
#include "base/aligned_buffer.hpp"
#include "config/config.hpp"
#include "counters/counters.hpp"
#include "ggml/host/abi.hpp"
#include "ggml/host/imports.hpp"
#include "plan/policy.hpp"
#include "runtime/measured_rates.hpp"

namespace rknpu2 {

// What packing will add to a model's bytes, learnt from the weights that the host asks about while it loads
// one. llama.cpp fits a model to the memory a device reports and counts the file's bytes only; see
// free_memory() in device.cpp.
//
// A weight counts once, however often a host asks: by its name, type and shape. Any thread.
class PackingForecast {
  public:
    void add(const std::string& weight, size_t raw_bytes, size_t packed_bytes) {
        const std::lock_guard lock(mutex_);
        if (!known_.insert(weight).second) return;
        raw_ += raw_bytes;
        packed_ += packed_bytes;
    }
    // Experts, which are packed only as far as memory is promised to them (Buffer::Stack).
    void add_experts(const std::string& weight, size_t raw_bytes) {
        const std::lock_guard lock(mutex_);
        if (known_.insert(weight).second) raw_experts_ += raw_bytes;
    }
    // Packed bytes for each byte of the file. Before any weight was seen: that of a 4.5-bit type as int8.
    double ratio() const {
        const std::lock_guard lock(mutex_);
        return raw_ == 0 ? 8.0 / 4.5 : static_cast<double>(packed_) / static_cast<double>(raw_);
    }
    // Of `unpacked` bytes in weight buffers, those of weights that will be packed, as far as the host has asked about them.
    size_t waiting(size_t unpacked) const {
        const std::lock_guard lock(mutex_);
        return std::min(raw_, unpacked - std::min(unpacked, raw_experts_));
    }

  private:
    mutable std::mutex mutex_;
    std::set<std::string> known_;
    size_t raw_ = 0, packed_ = 0, raw_experts_ = 0;
};

class Calibration;  // calibration/calibration.hpp
class Checksums;    // checksums.hpp
class NpuDevice;    // matmul/npu_device.hpp
class Sensitivity;  // sensitivity.hpp

struct Host {
    HostLibrary library;
    GgmlFunctions ggml;
    const Abi* abi = nullptr;  // one of kAbis, proven
    Config config;
    Counters* counters = nullptr;        // of the process
    Calibration* calibration = nullptr;  // of the process; null unless activations are to be gathered
    Sensitivity* sensitivity = nullptr;  // of the process; null unless it is to be measured
    Checksums* checksums = nullptr;      // of the process; null unless they are to be recorded
    std::shared_ptr<NpuDevice> npu;      // null: no device
    std::string description;             // such as "Rockchip RK3588 NPU (simulated)"
    PackingForecast forecast;
    BoardRates rates;             // that say what is faster where: choose_rates_of()
    MeasuredRates profile_rates;  // of them, what the board's profile has
    std::once_flag rates_once;
    TargetMemo targets;
    AttentionRefusals attention_refusals;
    std::mutex custom_nodes_mutex;
    std::optional<Status>
        custom_nodes;          // what cpu/proof_of_custom.hpp found, once it was asked; guarded by it
    std::mutex placing_mutex;  // of place_matrices()
    std::atomic<bool> memory_is_told{false};  // that weights do not fit: once
    std::mutex loading_mutex;                 // of load_weights_ahead()
    std::mutex buffers_mutex;
    std::set<ggml_backend_buffer_t> buffers;  // alive, guarded by buffers_mutex

    ggml_backend_reg reg{};
    ggml_backend_device device{};
    ggml_backend_buffer_type buffer_type{};

    // The host's CPU device; null until the host has loaded one.
    ggml_backend_dev_t cpu_device() const {
        return ggml.ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
    }
    // A function that the CPU backend gives out by name only; null if it has none of this name.
    template <typename Function>
    Function cpu_function(const char* name) const {
        const ggml_backend_dev_t cpu = cpu_device();
        if (cpu == nullptr) return nullptr;
        return reinterpret_cast<Function>(
            ggml.ggml_backend_reg_get_proc_address(ggml.ggml_backend_dev_backend_reg(cpu), name));
    }
    // The CPU backend's layouts of weights besides ggml's own, null behind the last; null: it has no such list. It makes the
    // list when it is first asked.
    ggml_backend_buffer_type_t* cpu_layouts() const {
        const auto list =
            cpu_function<ggml_backend_dev_get_extra_bufts_t>("ggml_backend_dev_get_extra_bufts");
        return list == nullptr ? nullptr : list(cpu_device());
    }
};

inline constexpr const char* kDeviceName = "RKNPU0";
inline constexpr const char* kRegistryName = "RKNPU";

// Each fills its part of the host's objects (reg.cpp, device.cpp, buffer.cpp).
void init_registry(Host& host);
void init_device(Host& host);
void init_buffer_type(Host& host);

// A buffer over memory of our own, or over the caller's, which must outlive it (buffer.cpp). Null if there is
// no memory.
ggml_backend_buffer_t new_owned_buffer(Host& host, size_t size);
ggml_backend_buffer_t new_borrowed_buffer(Host& host, void* data, size_t size);

// Writes the file of GGML_RKNPU2_STATS, if that is set and there is an NPU (plugin.cpp).
void write_files();

// A backend instance (backend.cpp).
ggml_backend_t new_backend(Host& host);
void backend_set_n_threads(ggml_backend_t backend, int n_threads) noexcept;
void backend_set_abort_callback(ggml_backend_t backend, ggml_abort_callback callback, void* data) noexcept;

inline Host& host_of(ggml_backend_reg_t reg) {
    return *static_cast<Host*>(reg->context);
}
inline Host& host_of(ggml_backend_dev_t device) {
    return *static_cast<Host*>(device->context);
}
inline Host& host_of(ggml_backend_buffer_type_t type) {
    return *static_cast<Host*>(type->context);
}

}  // namespace rknpu2
