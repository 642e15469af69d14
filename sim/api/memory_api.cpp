// SPDX-License-Identifier: MIT
// rknn_create_mem*, rknn_destroy_mem, rknn_mem_sync, rknn_query, and the rknnsim_ functions.
#include <cstring>
#include <numeric>

#include "api/rknnsim.h"
#include "api/runtime_state.hpp"
#include "base/format.hpp"

using namespace rknnsim;  // NOLINT: every function below is a thin frame around it

namespace {

// The domain that memory made with `ctx` belongs to. Memory functions may be called while the context runs.
Outcome domain_of(RuntimeState& state, uint64_t ctx, int* domain) {
    const std::shared_ptr<Context> context = state.simulator().find_context(ctx);
    if (context == nullptr) return no_such_context(state, ctx);
    *domain = context->problem().domain;
    return {};
}

// Memory is destroyed and synced with a context of its domain or the one it was made with, and memory that
// was made without a context also without one.
Outcome check_user(RuntimeState& state, uint64_t ctx, const Memory& memory) {
    if (ctx == 0 && memory.context == 0) return {};
    int domain = 0;
    RKNNSIM_RETURN_IF_ERROR(domain_of(state, ctx, &domain));
    const int own = memory.allocation->domain();
    if (domain == own || ctx == memory.context) return {};
    return {Code::kInvalidParameter,
            rknpu2::format("the memory is in domain %d, the context in domain %d: call it with a context of "
                           "the memory's domain",
                           own, domain),
            Rule::kWrongDomain};
}

// Runs `body`, which sets the result, in the frame of call(); NULL when it fails.
template <typename Body>
rknn_tensor_mem* call_memory(const char* function, Body&& body) noexcept {
    rknn_tensor_mem* result = nullptr;
    const int code = call(function, [&](RuntimeState& state) { return body(state, &result); });
    return code == 0 ? result : nullptr;
}

Outcome create(RuntimeState& state, uint64_t ctx, int domain, uint64_t size, bool cached,
               rknn_tensor_mem** result) {
    if (size > UINT32_MAX) {
        return {Code::kInvalidParameter,
                rknpu2::format("size=%llu must be below 4 GiB", static_cast<unsigned long long>(size))};
    }
    const auto used = state.simulator().memory().used();
    if (state.simulator().faults().refuses_memory(std::accumulate(used.begin(), used.end(), uint64_t{0}),
                                                  size)) {
        return {Code::kOutOfMemory, "memory has run out, as RKNNSIM_FAULTS asks for"};
    }
    auto memory = std::make_shared<Memory>();
    RKNNSIM_RETURN_IF_ERROR(state.simulator().memory().allocate(domain, size, cached, &memory->allocation));
    memory->size = size;
    memory->context = ctx;
    Allocation& allocation = *memory->allocation;
    *result = state.add_memory(std::move(memory), allocation.cpu(), allocation.fd(), 0);
    return {};
}

// `virt` is the address that `fd` is mapped at, from its first byte: the data start at virt + offset.
Outcome import(RuntimeState& state, uint64_t ctx, int fd, void* virt, uint64_t size, int64_t offset,
               rknn_tensor_mem** result) {
    int domain = 0;
    RKNNSIM_RETURN_IF_ERROR(domain_of(state, ctx, &domain));
    const auto refuse = [](std::string text) { return Outcome(Code::kInvalidParameter, std::move(text)); };
    if (virt == nullptr) return refuse("virt_addr is NULL");
    MemoryPool& pool = state.simulator().memory();
    std::shared_ptr<Allocation> allocation = pool.find_by_fd(domain, fd);
    if (allocation == nullptr) RKNNSIM_RETURN_IF_ERROR(pool.import(domain, fd, &allocation));
    if (size == 0 || offset < 0 || static_cast<uint64_t>(offset) + size > allocation->size()) {
        return refuse(rknpu2::format("offset=%lld size=%llu does not lie within the %zu bytes of the buffer",
                                     static_cast<long long>(offset), static_cast<unsigned long long>(size),
                                     allocation->size()));
    }
    const auto* address = static_cast<const std::byte*>(virt);
    if (address > allocation->cpu() && address < allocation->cpu() + allocation->size()) {
        return refuse("virt_addr must be the start of the buffer; offset is added to it");
    }
    auto memory = std::make_shared<Memory>();
    memory->imported = true;
    memory->alias = pool.add_alias(address, allocation, 0, allocation->size());
    memory->allocation = std::move(allocation);
    memory->offset = static_cast<size_t>(offset);
    memory->size = size;
    memory->context = ctx;
    *result = state.add_memory(std::move(memory), virt, fd, static_cast<int>(offset));
    return {};
}

}  // namespace

RKNNSIM_EXPORT rknn_tensor_mem* rknn_create_mem(rknn_context ctx, uint32_t size) {
    return call_memory("rknn_create_mem", [&](RuntimeState& state, rknn_tensor_mem** result) -> Outcome {
        int domain = 0;
        RKNNSIM_RETURN_IF_ERROR(domain_of(state, ctx, &domain));
        return create(state, ctx, domain, size, true, result);
    });
}

RKNNSIM_EXPORT rknn_tensor_mem* rknn_create_mem2(rknn_context ctx, uint64_t size, uint64_t alloc_flags) {
    return call_memory("rknn_create_mem2", [&](RuntimeState& state, rknn_tensor_mem** result) -> Outcome {
        constexpr uint64_t kKnown = RKNN_FLAG_MEMORY_CACHEABLE | RKNN_FLAG_MEMORY_NON_CACHEABLE |
                                    RKNN_FLAG_MEMORY_TRY_ALLOC_SRAM | RKNN_MEM_FLAG_ALLOC_NO_CONTEXT;
        constexpr uint64_t kBoth = RKNN_FLAG_MEMORY_CACHEABLE | RKNN_FLAG_MEMORY_NON_CACHEABLE;
        if ((alloc_flags & ~kKnown) != 0 || (alloc_flags & kBoth) == kBoth) {
            return {Code::kInvalidParameter,
                    rknpu2::format("flags 0x%llx are unknown or contradict each other",
                                   static_cast<unsigned long long>(alloc_flags))};
        }
        int domain = 0;
        if (ctx != 0 || (alloc_flags & RKNN_MEM_FLAG_ALLOC_NO_CONTEXT) == 0) {
            RKNNSIM_RETURN_IF_ERROR(domain_of(state, ctx, &domain));
        }
        return create(state, ctx, domain, size, (alloc_flags & RKNN_FLAG_MEMORY_NON_CACHEABLE) == 0, result);
    });
}

RKNNSIM_EXPORT rknn_tensor_mem* rknn_create_mem_from_fd(rknn_context ctx, int32_t fd, void* virt_addr,
                                                        uint32_t size, int32_t offset) {
    return call_memory("rknn_create_mem_from_fd", [&](RuntimeState& state, rknn_tensor_mem** result) {
        return import(state, ctx, fd, virt_addr, size, offset, result);
    });
}

RKNNSIM_EXPORT rknn_tensor_mem* rknn_create_mem_from_phys(rknn_context ctx, uint64_t phys_addr,
                                                          void* virt_addr, uint32_t size) {
    return call_memory(
        "rknn_create_mem_from_phys", [&](RuntimeState& state, rknn_tensor_mem** result) -> Outcome {
            int domain = 0;
            RKNNSIM_RETURN_IF_ERROR(domain_of(state, ctx, &domain));
            if (virt_addr == nullptr || size == 0) {
                return {Code::kInvalidParameter, "virt_addr must not be NULL, nor size 0"};
            }
            auto memory = std::make_shared<Memory>();
            memory->allocation = state.simulator().memory().find_by_iova(domain, phys_addr, size);
            if (memory->allocation == nullptr) {
                return {Code::kInvalidParameter,
                        rknpu2::format("0x%llx is not the address of a buffer in domain %d",
                                       static_cast<unsigned long long>(phys_addr), domain)};
            }
            memory->imported = true;
            memory->offset = phys_addr - memory->allocation->iova();
            memory->size = size;
            memory->context = ctx;
            memory->alias = state.simulator().memory().add_alias(static_cast<const std::byte*>(virt_addr),
                                                                 memory->allocation, memory->offset, size);
            *result = state.add_memory(std::move(memory), virt_addr, -1, 0);
            return {};
        });
}

RKNNSIM_EXPORT int rknn_destroy_mem(rknn_context ctx, rknn_tensor_mem* mem) {
    constexpr const char* kName = "rknn_destroy_mem";
    return call(kName, [&](RuntimeState& state) -> Outcome {
        std::shared_ptr<Memory> memory;
        RKNNSIM_RETURN_IF_ERROR(state.find_memory(mem, &memory, true));
        RKNNSIM_RETURN_IF_ERROR(check_user(state, ctx, *memory));
        if (!state.simulator().settings().foreign_memory && memory->context != ctx) {
            return {Code::kInvalidParameter, "the memory was created with another context"};
        }
        Outcome found = state.simulator().release(kName, *memory);
        RKNNSIM_RETURN_IF_ERROR(state.remove_memory(mem));
        return found;
    });
}

RKNNSIM_EXPORT int rknn_mem_sync(rknn_context ctx, rknn_tensor_mem* mem, int mode) {
    constexpr const char* kName = "rknn_mem_sync";
    return call(kName, [&](RuntimeState& state) -> Outcome {
        std::shared_ptr<Memory> memory;
        RKNNSIM_RETURN_IF_ERROR(state.find_memory(mem, &memory));
        RKNNSIM_RETURN_IF_ERROR(check_user(state, ctx, *memory));
        if (mode < RKNN_MEMORY_SYNC_TO_DEVICE || mode > RKNN_MEMORY_SYNC_BIDIRECTIONAL) {
            return {Code::kInvalidParameter, rknpu2::format("mode %d must be 1, 2 or 3", mode)};
        }
        return state.simulator().sync(kName, memory, (mode & RKNN_MEMORY_SYNC_TO_DEVICE) != 0,
                                      (mode & RKNN_MEMORY_SYNC_FROM_DEVICE) != 0);
    });
}

RKNNSIM_EXPORT int rknn_query(rknn_context ctx, int cmd, void* info, uint32_t size) {
    return call("rknn_query", [&](RuntimeState& state) -> Outcome {
        int domain = 0;
        RKNNSIM_RETURN_IF_ERROR(domain_of(state, ctx, &domain));
        if (info == nullptr) return {Code::kInvalidParameter, "info is NULL"};
        if (cmd != RKNN_QUERY_SDK_VERSION) {
            return {Code::kInvalidParameter, rknpu2::format("command %d is not simulated (5 is)", cmd)};
        }
        if (size < sizeof(rknn_sdk_version)) {
            return {Code::kInvalidParameter,
                    rknpu2::format("size=%u must be at least %zu", size, sizeof(rknn_sdk_version))};
        }
        auto* version = static_cast<rknn_sdk_version*>(info);
        *version = {};
        std::strncpy(version->api_version, "2.3.2 (rknnsim " RKNNSIM_VERSION ")",
                     sizeof version->api_version - 1);
        std::strncpy(version->drv_version, "0.9.8 (simulated)", sizeof version->drv_version - 1);
        return {};
    });
}

RKNNSIM_EXPORT int rknnsim_live(struct rknnsim_live_counts* counts) {
    RuntimeState* state = RuntimeState::get();
    if (state == nullptr || counts == nullptr) return RKNN_ERR_FAIL;
    *counts = {};
    counts->contexts = state->simulator().context_count();
    counts->memories = state->memory_count();
    const auto used = state->simulator().memory().used();
    for (size_t i = 0; i < used.size(); ++i) {
        counts->domain_bytes[i] = used[i];
        counts->bytes += used[i];
    }
    counts->runs = state->simulator().runs();
    counts->macs = state->simulator().macs();
    return 0;
}

RKNNSIM_EXPORT const char* rknnsim_kernel(void) {
    RuntimeState* state = RuntimeState::get();
    return state == nullptr ? "none" : state->simulator().tier().name;
}

RKNNSIM_EXPORT uint64_t rknnsim_check_count(const char* rule) {
    RuntimeState* state = RuntimeState::get();
    if (state == nullptr) return 0;
    uint64_t count = 0;
    for (int i = 1; i < kRules; ++i) {
        if (rule == nullptr || std::strcmp(rule, rule_name(static_cast<Rule>(i))) == 0) {
            count += state->checker().count_of(static_cast<Rule>(i));
        }
    }
    return count;
}

RKNNSIM_EXPORT uint64_t rknnsim_fault_count(void) {
    RuntimeState* state = RuntimeState::get();
    return state == nullptr ? 0 : state->simulator().faults().made();
}

RKNNSIM_EXPORT int rknnsim_pause_faults(int paused) {
    RuntimeState* state = RuntimeState::get();
    if (state == nullptr) return RKNN_ERR_FAIL;
    state->simulator().faults().pause(paused != 0);
    return RKNN_SUCC;
}

RKNNSIM_EXPORT int rknnsim_declare_k(uint64_t ctx, int32_t k) {
    return call_context("rknnsim_declare_k", ctx, [&](RuntimeState&, Context& context) -> Outcome {
        const size_t K = context.problem().K;
        if (k < 1 || static_cast<size_t>(k) > K) {
            return {Code::kInvalidParameter, rknpu2::format("k=%d must be 1 to %zu", k, K)};
        }
        context.declare_k(static_cast<size_t>(k));
        return {};
    });
}

RKNNSIM_EXPORT int rknnsim_dma_sync(int fd, uint64_t flags) {
    constexpr uint64_t kRead = 1, kWrite = 2, kEnd = 4;
    return call("rknnsim_dma_sync", [&](RuntimeState& state) -> Outcome {
        if ((flags & ~(kRead | kWrite | kEnd)) != 0 || (flags & (kRead | kWrite)) == 0) {
            return {Code::kInvalidParameter,
                    rknpu2::format("flags 0x%llx are unknown", static_cast<unsigned long long>(flags))};
        }
        const bool end = (flags & kEnd) != 0;
        for (auto& allocation : state.simulator().memory().find_all_by_fd(fd)) {
            Memory memory;
            memory.size = allocation->size();
            memory.allocation = std::move(allocation);
            state.simulator().hand_over({.memory = memory,
                                         .to_device = end && (flags & kWrite) != 0,
                                         .from_device = !end && (flags & kRead) != 0});
        }
        return {};
    });
}

RKNNSIM_EXPORT int rknnsim_cache_lines(const void* address, uint64_t bytes, int operation) {
    constexpr int kClean = 1, kCleanAndInvalidate = 2;
    return call("rknnsim_cache_lines", [&](RuntimeState& state) -> Outcome {
        if (operation != kClean && operation != kCleanAndInvalidate) {
            return {Code::kInvalidParameter, rknpu2::format("operation %d must be 1 or 2", operation)};
        }
        return state.simulator().clean_lines(address, bytes, operation == kCleanAndInvalidate);
    });
}

RKNNSIM_EXPORT int rknnsim_device_bytes(const void* address, uint64_t bytes, void* to) {
    return call("rknnsim_device_bytes", [&](RuntimeState& state) -> Outcome {
        if (to == nullptr) return {Code::kInvalidParameter, "the target is NULL"};
        return state.simulator().device_bytes(address, bytes, static_cast<std::byte*>(to));
    });
}

RKNNSIM_EXPORT int rknnsim_reset(void) {
    return RuntimeState::reset() ? 0 : RKNN_ERR_FAIL;
}
