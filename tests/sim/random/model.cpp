// SPDX-License-Identifier: MIT
#include "sim/random/model.hpp"

#include <algorithm>
#include <cstring>

#include "base/format.hpp"
#include "matrix/layout.hpp"

namespace rknnsim_random {
namespace {

using rknpu2::DType;
using rknpu2::format;

rknn_tensor_type number_of(DType type) {
    switch (type) {
        case DType::kFloat16:
            return 1;
        case DType::kInt8:
            return 2;
        case DType::kInt16:
            return 4;
        case DType::kInt32:
            return 6;
        case DType::kInt4:
            return 10;
        default:
            return 0;
    }
}

bool is_object(const std::string& name, const rknn_matmul_tensor_attr& a, const rknn_matmul_tensor_attr& b) {
    return name == a.name && a.n_dims == b.n_dims && a.size == b.size && a.type == b.type &&
           std::memcmp(a.dims, b.dims, sizeof a.dims) == 0;
}

}  // namespace

bool Context::converts(int operand) const {
    if (operand == kC) return false;
    return operand == kA ? info.AC_layout == 0 : info.B_layout != 1;
}

rknn_matmul_tensor_attr attr_of(const rknn_matmul_info& info, int operand, int M) {
    rknn_matmul_tensor_attr attr{};
    attr.name[0] = "ABC"[operand];
    const DType type = operand == kC ? output_of(info.type) : input_of(info.type);
    const auto rows = static_cast<uint32_t>(M);
    const auto K = static_cast<uint32_t>(info.K);
    const auto N = static_cast<uint32_t>(info.N);
    const auto atom = static_cast<uint32_t>(rknpu2::atom_elements(type));
    const auto group = static_cast<uint32_t>(rknpu2::kernel_group(type));
    std::vector<uint32_t> dims;
    if (operand == kB) {
        dims = info.B_layout == 0 ? std::vector<uint32_t>{K, N} : std::vector<uint32_t>{N, K};
        if (info.B_layout == 1) dims = {N / group, K / 32, group, 32};
    } else {
        const uint32_t columns = operand == kA ? K : N;
        dims = {rows, columns};
        if (info.AC_layout == 1) dims = {columns / atom, rows, atom};
    }
    attr.n_dims = static_cast<uint32_t>(dims.size());
    size_t elements = 1;
    for (size_t i = 0; i < dims.size(); ++i) {
        attr.dims[i] = dims[i];
        elements *= dims[i];
    }
    attr.size = static_cast<uint32_t>(rknpu2::dtype_bytes(type, elements));
    attr.type = number_of(type);
    return attr;
}

const rknnsim_random::Context* Model::context(int slot) const {
    const auto found = contexts_.find(slot);
    return found == contexts_.end() || !found->second.live ? nullptr : &found->second;
}

const Memory* Model::memory(int slot) const {
    const auto found = memories_.find(slot);
    return found == memories_.end() || !found->second.live ? nullptr : &found->second;
}

int Model::live_contexts() const {
    return static_cast<int>(std::count_if(contexts_.begin(), contexts_.end(),
                                          [](const auto& entry) { return entry.second.live; }));
}

uint64_t Model::used(int domain) const {
    std::map<const Allocation*, uint64_t> seen;
    for (const auto& [slot, mem] : memories_) {
        if (mem.live && mem.allocation->domain == domain)
            seen[mem.allocation.get()] = mem.allocation->pages();
    }
    uint64_t total = 0;
    for (const auto& [allocation, pages] : seen)
        total += pages;
    return total;
}

std::string Model::apply(const Step& step, const Outcome& outcome) {
    const Expect expect = predict(step);
    if (expect.unsure && (outcome.code != 0 || !expect.ok)) return "";
    if (expect.ok) {
        if (outcome.code == 0) return effect(step, &outcome);
        return format("expected success, got %d", outcome.code);
    }
    if (outcome.code == 0) {
        if (outcome.messages > 0) return "";  // told, as a warning
        return format("expected an error (%s), got success without a message", expect.why);
    }
    const bool returns_memory = step.call >= Call::kCreateMem && step.call <= Call::kFromPhys;
    if (returns_memory || (outcome.code < 0 && (expect.code == 0 || expect.code == outcome.code))) return "";
    return format("expected error %d (%s), got %d", expect.code, expect.why, outcome.code);
}

void Model::plan(const Step& step) {
    if (predict(step).ok) effect(step, nullptr);
}

// What a call that succeeded means. `outcome` is nullptr when planning.
std::string Model::effect(const Step& step, const Outcome* outcome) {
    switch (step.call) {
        case Call::kCreate:
        case Call::kCreateDynamic:
            return create(step, outcome);
        case Call::kSelectShape:
            contexts_[step.ctx].M = step.shapes.front().M;
            return "";
        case Call::kBind:
            return bind(step, outcome);
        case Call::kSetQuant:
            if (!contexts_[step.ctx].computes_zero()) contexts_[step.ctx].scales[step.operand] = step.scale;
            return "";
        case Call::kGetQuant:
            if (outcome == nullptr || outcome->scale == 1.0F) return "";
            return format("expected the scale 1, got %g", outcome->scale);
        case Call::kRun:
        case Call::kCollide:
            return run(step, outcome);
        case Call::kDestroy:
            contexts_[step.ctx].live = false;
            return "";
        case Call::kConvertB:
            convert(step);
            return "";
        case Call::kCreateMem:
        case Call::kCreateMem2:
        case Call::kFromFd:
        case Call::kFromPhys:
            return add_memory(step, outcome);
        case Call::kDestroyMem:
            memories_[step.mem].live = false;
            memories_[step.mem].allocation.reset();
            return "";
        case Call::kSync:
            return sync(step, outcome);
        case Call::kLines:
            lines(step);
            return "";
        case Call::kWrite:
            write(step);
            return "";
        case Call::kInspect:
            return inspect(step, outcome);
        case Call::kEditMem:
            if (memory(step.mem) != nullptr) memories_[step.mem].edited = step.edit.has_value();
            return "";
        default:
            return "";
    }
}

std::string Model::create(const Step& step, const Outcome* outcome) {
    Context& context = contexts_[step.ctx];
    context = {};
    context.live = true;
    context.info = step.info;
    context.dynamic = step.call == Call::kCreateDynamic;
    if (context.dynamic) {
        for (const rknn_matmul_shape& shape : step.shapes)
            context.rows.push_back(shape.M);
    } else {
        context.rows = {step.info.M};
        context.M = step.info.M;
    }
    if (outcome == nullptr) return "";
    if (outcome->handle == 0) return "the new context is 0";
    for (size_t i = 0; i < context.rows.size(); ++i) {
        const rknn_matmul_io_attr& got = outcome->attrs.at(i);
        const rknn_matmul_tensor_attr* const attrs[] = {&got.A, &got.B, &got.C};
        for (int operand = 0; operand < 3; ++operand) {
            const rknn_matmul_tensor_attr want = attr_of(context.info, operand, context.rows[i]);
            if (!is_object(want.name, *attrs[operand], want))
                return format("shape %zu: the attributes of %s are not the documented ones", i, want.name);
        }
    }
    return "";
}

std::string Model::add_memory(const Step& step, const Outcome* outcome) {
    Memory mem;
    mem.live = true;
    mem.size = step.size;
    mem.ctx = step.ctx;
    if (step.call == Call::kCreateMem || step.call == Call::kCreateMem2) {
        mem.allocation = std::make_shared<Allocation>();
        mem.allocation->domain = is_zero(step.ctx) ? 0 : contexts_.at(step.ctx).info.iommu_domain_id;
        mem.allocation->size = step.size;
        mem.allocation->cached =
            settings_.non_cacheable_stale || step.call == Call::kCreateMem || (step.flags & 2U) == 0;
        if (with_data_ && step.size <= kMaxData) {
            mem.allocation->cpu.resize(mem.allocation->pages());
            mem.allocation->device.resize(mem.allocation->pages());
            mem.allocation->computed.resize(mem.allocation->pages());
            mem.allocation->seen.resize(mem.allocation->pages());
            mem.allocation->hidden.resize(mem.allocation->pages());
        }
        if (outcome != nullptr) mem.allocation->iova = outcome->mem.phys_addr;
    } else {
        const Memory& source = memories_.at(step.source);
        mem.allocation = source.allocation;
        mem.imported = true;
        mem.by_address = step.call == Call::kFromPhys;
        mem.offset = static_cast<uint64_t>(step.offset) + (mem.by_address ? source.offset : 0);
    }
    std::string problem;
    if (outcome != nullptr) {
        if (outcome->mem.size != mem.size) problem = "the new memory has another size";
        if (outcome->mem.phys_addr != mem.allocation->iova + mem.offset)
            problem = "the new memory has another device address than its place in the buffer";
        if (problem.empty() && step.call <= Call::kCreateMem2) problem = check_address(mem);
    }
    memories_[step.mem] = std::move(mem);
    return problem;
}

// Row "4 GiB of address space for each of 16 domains, page 0 never".
std::string Model::check_address(const Memory& memory) const {
    const Allocation& own = *memory.allocation;
    if (own.iova == 0 || own.iova % 4096 != 0 || own.iova + own.pages() > kDomainBytes)
        return format("the device address 0x%llx is not one of the domain",
                      static_cast<unsigned long long>(own.iova));
    for (const auto& [slot, other] : memories_) {
        if (!other.live || other.allocation->domain != own.domain) continue;
        const Allocation& theirs = *other.allocation;
        if (own.iova < theirs.iova + theirs.pages() && theirs.iova < own.iova + own.pages())
            return format("its device addresses overlap those of mem[%d]", slot);
    }
    return "";
}

}  // namespace rknnsim_random
