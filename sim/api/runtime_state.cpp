// SPDX-License-Identifier: MIT
#include "api/runtime_state.hpp"

#include <algorithm>
#include <atomic>
#include <vector>

#include "base/format.hpp"

namespace rknnsim {
namespace {

using rknpu2::format;

// What RKNNSIM_FAULTS may name.
const std::vector<std::string>& functions() {
    static const std::vector<std::string> names = {
        "rknn_matmul_create",
        "rknn_matmul_create_dynamic_shape",
        "rknn_matmul_set_dynamic_shape",
        "rknn_matmul_set_io_mem",
        "rknn_matmul_set_core_mask",
        "rknn_matmul_set_quant_params",
        "rknn_matmul_get_quant_params",
        "rknn_matmul_run",
        "rknn_matmul_destroy",
        "rknn_B_normal_layout_to_native_layout",
        "rknn_create_mem",
        "rknn_create_mem2",
        "rknn_create_mem_from_fd",
        "rknn_create_mem_from_phys",
        "rknn_destroy_mem",
        "rknn_mem_sync",
        "rknn_query",
    };
    return names;
}

// Never destroyed: other libraries' destructors may still call us at exit.
struct Global {
    std::mutex mutex;  // for starting and resetting
    std::atomic<bool> started{false};
    std::unique_ptr<RuntimeState> state;
};

Global& global() {
    static auto* instance = new Global;
    return *instance;
}

std::unique_ptr<RuntimeState> start() {
    Settings settings;
    std::unique_ptr<Faults> faults;
    Outcome outcome = Settings::from_environment(&settings);
    if (outcome.ok()) outcome = Faults::parse(settings.faults, functions(), &faults);
    Profile profile;
    if (outcome.ok()) outcome = load_profile(settings.profile, &profile);
    std::unique_ptr<TimeOutput> output;
    if (outcome.ok()) outcome = TimeOutput::create(settings, &output);
    if (!outcome.ok()) {
        print_line("error", "settings", outcome.text);
        return nullptr;
    }
    for (const std::string& name : settings.unknown)
        print_line("warning", "settings", format("%s is not a setting of the simulator", name.c_str()));
    return std::make_unique<RuntimeState>(std::move(settings), std::move(faults), profile, std::move(output));
}

bool same(const rknn_tensor_mem& a, const rknn_tensor_mem& b) {
    return a.virt_addr == b.virt_addr && a.phys_addr == b.phys_addr && a.fd == b.fd && a.offset == b.offset &&
           a.size == b.size && a.flags == b.flags && a.priv_data == b.priv_data;
}

}  // namespace

RuntimeState* RuntimeState::get() {
    note_call();
    Global& shared = global();
    if (!shared.started.load(std::memory_order_acquire)) {
        const std::lock_guard<std::mutex> lock(shared.mutex);
        if (!shared.started.load(std::memory_order_relaxed)) {
            shared.state = start();
            shared.started.store(true, std::memory_order_release);
        }
    }
    return shared.state.get();
}

RuntimeState* RuntimeState::peek() {
    Global& shared = global();
    return shared.started.load(std::memory_order_acquire) ? shared.state.get() : nullptr;
}

bool RuntimeState::reset() {
    const NoCancellation whole;
    Global& shared = global();
    const std::lock_guard<std::mutex> lock(shared.mutex);
    if (shared.state != nullptr &&
        (shared.state->simulator().context_count() > 0 || shared.state->memory_count() > 0)) {
        return false;
    }
    if (shared.state != nullptr) shared.state->write_time_output();
    forget_counted();
    shared.started = false;
    shared.state = nullptr;
    return true;
}

rknn_tensor_mem* RuntimeState::add_memory(std::shared_ptr<Memory> memory, void* virt, int fd, int offset) {
    const std::lock_guard<std::mutex> lock(mutex_);
    MemoryHandle* handle = nullptr;
    if (destroyed_.size() > kQuarantine) {
        handle = destroyed_.front();
        destroyed_.pop_front();
    } else {
        handle = &handles_.emplace_back();
        by_address_[&handle->visible] = handle;
    }
    rknn_tensor_mem& mem = handle->visible;
    mem = {};
    mem.virt_addr = virt;
    mem.phys_addr = memory->allocation->iova() + memory->offset;
    mem.fd = fd;
    mem.offset = offset;
    mem.size = static_cast<uint32_t>(memory->size);
    handle->original = mem;
    handle->memory = std::move(memory);
    return &mem;
}

Outcome RuntimeState::find_memory(const rknn_tensor_mem* mem, std::shared_ptr<Memory>* memory,
                                  bool destroying) {
    if (mem == nullptr) return {Code::kInvalidParameter, "the memory is NULL"};
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto found = by_address_.find(mem);
    if (found == by_address_.end()) return {Code::kInvalidParameter, "the memory is unknown"};
    const MemoryHandle& handle = *found->second;
    if (handle.memory == nullptr) {
        return {Code::kInvalidParameter,
                format("the memory %p was destroyed before: %s", static_cast<const void*>(mem),
                       destroying ? "destroy it once" : "destroy it after its last use"),
                destroying ? Rule::kDoubleDestroy : Rule::kUseAfterDestroy};
    }
    if (!same(handle.visible, handle.original)) {
        return {Code::kInvalidParameter, "the caller has changed fields of the rknn_tensor_mem"};
    }
    *memory = handle.memory;
    return {};
}

Outcome RuntimeState::remove_memory(const rknn_tensor_mem* mem) {
    if (mem == nullptr) return {Code::kInvalidParameter, "the memory is NULL"};
    std::shared_ptr<Memory> last;  // released after the lock
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto found = by_address_.find(mem);
    if (found == by_address_.end() || found->second->memory == nullptr)
        return {Code::kInvalidParameter, "unknown or destroyed memory"};
    last = std::move(found->second->memory);
    destroyed_.push_back(found->second);
    return {};
}

std::vector<std::shared_ptr<Memory>> RuntimeState::memories() {
    std::vector<std::shared_ptr<Memory>> all;
    const std::lock_guard<std::mutex> lock(mutex_);
    for (const MemoryHandle& handle : handles_)
        if (handle.memory != nullptr) all.push_back(handle.memory);
    return all;
}

size_t RuntimeState::memory_count() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return handles_.size() - destroyed_.size();
}

size_t RuntimeState::memory_count(uint64_t context) {
    const std::lock_guard<std::mutex> lock(mutex_);
    return static_cast<size_t>(
        std::count_if(handles_.begin(), handles_.end(), [&](const MemoryHandle& handle) {
            return handle.memory != nullptr && handle.memory->context == context;
        }));
}

Outcome no_such_context(RuntimeState& state, uint64_t handle, Rule if_destroyed) {
    if (!state.simulator().was_context(handle)) {
        return {Code::kInvalidContext,
                format("0x%llx is not a context", static_cast<unsigned long long>(handle))};
    }
    return {Code::kInvalidContext,
            format("context 0x%llx was destroyed before: destroy it after its last use, and once",
                   static_cast<unsigned long long>(handle)),
            if_destroyed};
}

int finish(RuntimeState* state, const char* function, const Outcome& outcome) {
    if (state != nullptr && outcome.rule != Rule::kNone) state->checker().count(outcome.rule);
    if (!outcome.text.empty()) {
        const std::string rule = outcome.rule == Rule::kNone ? "" : format("[%s] ", rule_name(outcome.rule));
        print_limited(outcome.ok() ? "fault" : "error", function, rule + outcome.text);
    }
    return static_cast<int>(outcome.code);
}

}  // namespace rknnsim
