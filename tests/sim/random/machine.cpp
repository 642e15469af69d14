// SPDX-License-Identifier: MIT
#include "sim/random/machine.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <thread>

#include "api/rknnsim.h"
#include "base/format.hpp"

namespace rknnsim_random {
namespace {

constexpr rknn_matmul_ctx kUnknownHandle = 0x1234567890ABCDEF;

// A descriptor that is none of the library's. The caller closes it.
int foreign_descriptor(Fd kind) {
    if (kind == Fd::kDevNull) return open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (kind == Fd::kMinusOne) return -1;
    int ends[2] = {-1, -1};
    if (pipe(ends) != 0) return -1;
    close(ends[1]);
    if (kind == Fd::kClosed) close(ends[0]);
    return ends[0];
}

void edit_memory(const Edit& edit, rknn_tensor_mem* mem) {
    switch (edit.field) {
        case Edit::kVirt:
            mem->virt_addr = static_cast<uint8_t*>(mem->virt_addr) + edit.value;
            break;
        case Edit::kPhys:
            mem->phys_addr += static_cast<uint64_t>(edit.value);
            break;
        case Edit::kFd:
            mem->fd += static_cast<int32_t>(edit.value);
            break;
        case Edit::kOffset:
            mem->offset += static_cast<int32_t>(edit.value);
            break;
        default:
            mem->size += static_cast<uint32_t>(edit.value);
            break;
    }
}

}  // namespace

Machine::Machine(const Program& program)
    : follows_lines_(program.settings.follows_lines()),
      contexts_(static_cast<size_t>(program.contexts)),
      memories_(static_cast<size_t>(program.memories)),
      mappings_(static_cast<size_t>(program.memories)) {}

Machine::~Machine() {
    for (const Mapping& mapping : mappings_) {
        if (mapping.address != nullptr) munmap(mapping.address, mapping.size);
        if (mapping.fd >= 0) close(mapping.fd);
    }
}

rknn_matmul_ctx Machine::handle(int slot) const {
    if (slot == kUnknown) return kUnknownHandle;
    return slot == kNone ? 0 : contexts_[static_cast<size_t>(slot)].handle;
}

rknn_tensor_mem* Machine::pointer(int slot) {
    if (slot == kUnknown) return &stranger_;
    return slot == kNone ? nullptr : memories_[static_cast<size_t>(slot)].mem;
}

uint8_t* Machine::data(int slot) const {
    if (slot < 0 || !memories_[static_cast<size_t>(slot)].live) return nullptr;
    const rknn_tensor_mem& copy = memories_[static_cast<size_t>(slot)].copy;
    return static_cast<uint8_t*>(copy.virt_addr) + copy.offset;
}

Outcome Machine::perform(const Step& step) {
    switch (step.call) {
        case Call::kCreate:
        case Call::kCreateDynamic:
            return create(step);
        case Call::kSelectShape: {
            rknn_matmul_shape shape = step.shapes.front();
            return {.code = rknn_matmul_set_dynamic_shape(handle(step.ctx),
                                                          step.null_argument > 0 ? nullptr : &shape)};
        }
        case Call::kBind:
            return bind(step);
        case Call::kCoreMask:
            return {.code = rknn_matmul_set_core_mask(handle(step.ctx), static_cast<int>(step.flags))};
        case Call::kSetQuant:
        case Call::kGetQuant:
            return quant(step);
        case Call::kRun:
            return run(step);
        case Call::kCollide:
            return collide(step);
        case Call::kDestroy: {
            const Outcome outcome{.code = rknn_matmul_destroy(handle(step.ctx))};
            if (outcome.code == 0 && step.ctx >= 0) contexts_[static_cast<size_t>(step.ctx)].live = false;
            return outcome;
        }
        case Call::kConvertB:
            return convert(step);
        case Call::kCreateMem:
        case Call::kCreateMem2:
        case Call::kFromFd:
        case Call::kFromPhys:
            return create_memory(step);
        case Call::kDestroyMem:
        case Call::kSync:
            return use_memory(step);
        case Call::kQuery:
            return query(step);
        case Call::kLines: {
            const uint8_t* const at = data(step.mem);
            return {.code = rknnsim_cache_lines(at == nullptr ? nullptr : at + step.offset, step.size,
                                                static_cast<int>(step.flags))};
        }
        default:
            return touch(step);
    }
}

Outcome Machine::create(const Step& step) {
    Outcome outcome;
    // More attributes than shapes that are told, so that a lie about their number finds none to write to.
    outcome.attrs.resize(std::max<size_t>(1, step.shapes.size()));
    rknn_matmul_info info = step.info;
    rknn_matmul_ctx* const ctx = step.null_argument == 1 ? nullptr : &outcome.handle;
    rknn_matmul_info* const given = step.null_argument == 2 ? nullptr : &info;
    if (step.call == Call::kCreate) {
        outcome.code =
            rknn_matmul_create(ctx, given, step.null_argument == 3 ? nullptr : outcome.attrs.data());
    } else {
        std::vector<rknn_matmul_shape> shapes = step.shapes;
        outcome.code = rknn_matmul_create_dynamic_shape(
            ctx, given, static_cast<int>(step.count), step.null_argument == 3 ? nullptr : shapes.data(),
            step.null_argument == 4 ? nullptr : outcome.attrs.data());
    }
    if (outcome.code != 0) return outcome;
    contexts_[static_cast<size_t>(step.ctx)] = {
        .handle = outcome.handle, .live = true, .domain = info.iommu_domain_id, .attrs = outcome.attrs};
    return outcome;
}

Outcome Machine::bind(const Step& step) {
    ContextSlot* const slot = step.ctx >= 0 ? &contexts_[static_cast<size_t>(step.ctx)] : nullptr;
    rknn_matmul_io_attr attrs{};
    if (slot != nullptr && static_cast<size_t>(step.shape) < slot->attrs.size())
        attrs = slot->attrs[static_cast<size_t>(step.shape)];
    rknn_matmul_tensor_attr& attr = step.operand == kA ? attrs.A : step.operand == kB ? attrs.B : attrs.C;
    if (step.edit.has_value()) apply_edit(*step.edit, &attr);
    Outcome outcome{.code = rknn_matmul_set_io_mem(handle(step.ctx), pointer(step.mem),
                                                   step.null_argument > 0 ? nullptr : &attr)};
    if (outcome.code == 0 && slot != nullptr && attr.name[0] == 'C') {
        slot->c = data(step.mem);
        slot->c_bytes = attr.size;
        read_c(*slot, &outcome);
    }
    return outcome;
}

Outcome Machine::quant(const Step& step) {
    Outcome outcome;
    // As many values as the call needs at most; a count that lies about them must be refused unread.
    std::vector<float> scales(static_cast<size_t>(std::clamp<int64_t>(step.count, 1, kMostScales)),
                              step.scale);
    std::vector<int32_t> zps(static_cast<size_t>(std::clamp<int64_t>(step.zp_count, 1, kMostScales)),
                             step.zp);
    rknn_quant_params params{};
    params.name[0] = "ABC"[step.operand];
    if (step.edit.has_value()) params.name[0] = static_cast<char>(step.edit->value);
    params.scale = step.null_argument == 2 ? nullptr : scales.data();
    params.scale_len = static_cast<int32_t>(step.count);
    params.zp = step.null_argument == 3 ? nullptr : zps.data();
    params.zp_len = static_cast<int32_t>(step.zp_count);
    rknn_quant_params* const given = step.null_argument == 1 ? nullptr : &params;
    if (step.call == Call::kSetQuant) {
        outcome.code = rknn_matmul_set_quant_params(handle(step.ctx), given);
    } else {
        outcome.code = rknn_matmul_get_quant_params(handle(step.ctx), given,
                                                    step.null_argument == 4 ? nullptr : &outcome.scale);
    }
    return outcome;
}

void Machine::read_c(const ContextSlot& context, Outcome* outcome) const {
    if (context.c == nullptr) return;
    outcome->bytes.assign(context.c, context.c + context.c_bytes);
    look(context.c, outcome);
}

void Machine::look(const uint8_t* from, Outcome* outcome) const {
    if (!follows_lines_) return;
    outcome->device.resize(outcome->bytes.size());
    if (rknnsim_device_bytes(from, outcome->bytes.size(), outcome->device.data()) != 0)
        outcome->device.clear();
}

Outcome Machine::run(const Step& step) {
    Outcome outcome{.code = rknn_matmul_run(handle(step.ctx))};
    if (outcome.code == 0 && step.ctx >= 0) read_c(contexts_[static_cast<size_t>(step.ctx)], &outcome);
    return outcome;
}

// Row "one context on two threads: -1". Whoever comes first computes; nothing else may happen.
Outcome Machine::collide(const Step& step) {
    std::vector<int> codes(2 * step.size);
    const auto body = [&](size_t first) {
        for (size_t i = 0; i < step.size; ++i)
            codes[first + i] = rknn_matmul_run(handle(step.ctx));
    };
    std::thread other(body, 0);
    body(step.size);
    other.join();
    Outcome outcome;
    outcome.done = static_cast<uint64_t>(std::count(codes.begin(), codes.end(), 0));
    outcome.code = outcome.done > 0 ? 0 : codes.front();
    const auto strange =
        std::find_if(codes.begin(), codes.end(), [](int code) { return code != 0 && code != RKNN_ERR_FAIL; });
    if (outcome.done > 0 && strange != codes.end()) outcome.code = *strange;
    if (outcome.code == 0 && step.ctx >= 0) read_c(contexts_[static_cast<size_t>(step.ctx)], &outcome);
    return outcome;
}

Outcome Machine::convert(const Step& step) {
    rknn_matmul_info info = step.info;
    return {.code = rknn_B_normal_layout_to_native_layout(
                step.null_argument == 1 ? nullptr : data(step.source),
                step.null_argument == 2 ? nullptr : data(step.mem), info.K, info.N,
                step.null_argument == 3 ? nullptr : &info)};
}

Outcome Machine::query(const Step& step) {
    std::vector<char> answer(std::max<size_t>(sizeof(rknn_sdk_version), 1));
    return {.code = rknn_query(handle(step.ctx), static_cast<int>(step.flags),
                               step.null_argument > 0 ? nullptr : answer.data(),
                               static_cast<uint32_t>(step.size))};
}

rknn_tensor_mem* Machine::import(const Step& step) {
    const MemorySlot none;
    const MemorySlot& source = step.source >= 0 ? memories_[static_cast<size_t>(step.source)] : none;
    const auto size = static_cast<uint32_t>(step.size);
    if (step.call == Call::kFromPhys) {
        uint8_t* const from = data(step.source);
        void* const virt = step.null_argument > 0 || from == nullptr ? nullptr : from + step.offset;
        return rknn_create_mem_from_phys(
            handle(step.ctx), source.copy.phys_addr + static_cast<uint64_t>(step.offset), virt, size);
    }
    int fd = source.live ? source.copy.fd : -1;
    void* virt = step.null_argument > 0 ? nullptr : source.copy.virt_addr;
    Mapping& mapping = mappings_[static_cast<size_t>(step.mem)];
    if (step.fd == Fd::kDuplicate && fd >= 0 && virt != nullptr) {  // with a mapping of its own
        struct stat status {};
        fd = mapping.fd = dup(fd);
        if (fstat(fd, &status) != 0) return nullptr;
        mapping.size = static_cast<size_t>(status.st_size);
        void* const own = mmap(nullptr, mapping.size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (own == MAP_FAILED) return nullptr;
        virt = mapping.address = own;
    } else if (step.fd > Fd::kDuplicate) {
        fd = foreign_descriptor(step.fd);
    }
    rknn_tensor_mem* const mem =
        rknn_create_mem_from_fd(handle(step.ctx), fd, virt, size, static_cast<int32_t>(step.offset));
    if (step.fd == Fd::kPipe || step.fd == Fd::kDevNull) close(fd);
    return mem;
}

Outcome Machine::create_memory(const Step& step) {
    MemorySlot& slot = memories_[static_cast<size_t>(step.mem)];
    rknn_tensor_mem* mem = nullptr;
    if (step.call == Call::kCreateMem) {
        mem = rknn_create_mem(handle(step.ctx), static_cast<uint32_t>(step.size));
    } else if (step.call == Call::kCreateMem2) {
        mem = rknn_create_mem2(handle(step.ctx), step.size, step.flags);
    } else {
        mem = import(step);
    }
    if (mem == nullptr) return {.code = RKNN_ERR_FAIL};
    slot.mem = mem;
    slot.copy = *mem;
    slot.live = true;
    slot.domain = step.ctx >= 0 ? contexts_[static_cast<size_t>(step.ctx)].domain : 0;
    return {.mem = *mem};
}

Outcome Machine::use_memory(const Step& step) {
    rknn_tensor_mem* const mem = step.null_argument > 0 ? nullptr : pointer(step.mem);
    if (step.call == Call::kSync)
        return {.code = rknn_mem_sync(handle(step.ctx), mem, static_cast<int>(step.flags))};
    const Outcome outcome{.code = rknn_destroy_mem(handle(step.ctx), mem)};
    if (outcome.code == 0 && step.mem >= 0) memories_[static_cast<size_t>(step.mem)].live = false;
    return outcome;
}

Outcome Machine::touch(const Step& step) {
    uint8_t* const at = data(step.mem);
    if (at == nullptr) return {};
    MemorySlot& slot = memories_[static_cast<size_t>(step.mem)];
    if (step.call == Call::kWrite) {
        fill(step.pattern, step.seed, at + step.offset, step.size);
    } else if (step.call == Call::kInspect) {
        Outcome outcome{.bytes = std::vector<uint8_t>(at, at + slot.copy.size)};
        look(at, &outcome);
        return outcome;
    } else {
        *slot.mem = slot.copy;
        if (step.edit.has_value()) edit_memory(*step.edit, slot.mem);
    }
    return {};
}

std::string Machine::destroy_all() {
    rknn_matmul_ctx helper[16] = {};
    bool made[16] = {};
    for (const ContextSlot& context : contexts_) {
        if (context.live) helper[context.domain] = context.handle;
    }
    for (MemorySlot& slot : memories_) {
        if (!slot.live) continue;
        *slot.mem = slot.copy;
        if (helper[slot.domain] == 0) {
            rknn_matmul_info info{.M = 1, .K = 32, .N = 32, .type = 2, .iommu_domain_id = slot.domain};
            rknn_matmul_io_attr attr;
            if (rknn_matmul_create(&helper[slot.domain], &info, &attr) != 0)
                return "no context to clean up with";
            made[slot.domain] = true;
        }
        if (const int code = rknn_destroy_mem(helper[slot.domain], slot.mem); code != 0)
            return rknpu2::format("cleaning up: rknn_destroy_mem gives %d", code);
    }
    for (int domain = 0; domain < 16; ++domain) {
        if (made[domain] && rknn_matmul_destroy(helper[domain]) != 0) return "cleaning up: a context stays";
    }
    for (ContextSlot& context : contexts_) {
        if (context.live && rknn_matmul_destroy(context.handle) != 0) return "cleaning up: a context stays";
    }
    return "";
}

}  // namespace rknnsim_random
