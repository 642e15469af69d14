// SPDX-License-Identifier: MIT
// What the runtime refuses. Rows of docs/simulator-behaviours.csv are named where a rule comes from one.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "matrix/layout.hpp"
#include "sim/random/model.hpp"

namespace rknnsim_random {
namespace {

constexpr int kParam = RKNN_ERR_PARAM_INVALID;

Expect refuse(const char* why, int code = kParam) {
    return {.ok = false, .code = code, .why = why};
}

bool shape_is_bad(const rknn_matmul_shape& shape, int type, const Settings& settings) {
    const int group = static_cast<int>(rknpu2::kernel_group(input_of(type)));
    constexpr int kAny = 1 << 20;
    const bool strict = settings.strict_limits;
    if (shape.M < 1 || shape.M > (strict ? 2047 : kAny) || shape.K < 32 ||
        shape.K > (strict ? 10240 : 32768) || shape.K % 32 != 0 || shape.N < 1 ||
        shape.N > (strict ? 8192 : kAny) || shape.N % group != 0)
        return true;
    const auto over = [](rknpu2::DType dtype, int rows, int columns) {
        return rknpu2::dtype_bytes(dtype, static_cast<size_t>(rows) * static_cast<size_t>(columns)) >
               UINT32_MAX;
    };
    return over(input_of(type), shape.M, shape.K) || over(input_of(type), shape.K, shape.N) ||
           over(output_of(type), shape.M, shape.N);
}

Expect refuse_type(const rknn_matmul_info& info, const Settings& settings) {
    const bool channels = info.B_quant_type == 2 && (info.type == 2 || info.type == 3);
    const bool native = info.B_layout == 1 && info.AC_layout == 1;
    const bool groups = info.B_quant_type == 4 && info.type == 9 && native;
    const int types[] = {1, 2, 3, 4, 10};
    if (std::find(types, types + 5, info.type) == types + 5 && !groups) return refuse("type");
    if (info.B_quant_type != 0 && !channels && !groups) return refuse("B_quant_type");
    if (groups && (info.group_size <= 0 || info.group_size % 32 != 0)) return refuse("group_size");
    if (info.AC_quant_type != 0) return refuse("AC_quant_type");
    if (info.AC_layout != 0 && info.AC_layout != 1) return refuse("AC_layout");
    if (info.B_layout < 0 || info.B_layout > 2) return refuse("B_layout");
    if (info.B_layout == 2 && (info.type == 3 || info.type == 10)) return refuse("transposed B");
    if (info.B_layout == 0 && info.type == 10 && !settings.int4_normal_b) return refuse("normal int4 B");
    if (info.iommu_domain_id < 0 || info.iommu_domain_id > 15) return refuse("domain");
    return {};
}

// "A", "B" or "C", or -1.
int operand_named(const char (&name)[256]) {
    for (int operand = 0; operand < 3; ++operand) {
        if (name[0] == "ABC"[operand] && name[1] == '\0') return operand;
    }
    return -1;
}

bool same_attr(const rknn_matmul_tensor_attr& a, const rknn_matmul_tensor_attr& b) {
    return a.n_dims == b.n_dims && a.size == b.size && a.type == b.type &&
           std::memcmp(a.dims, b.dims, sizeof(uint32_t) * std::min<uint32_t>(a.n_dims, 16)) == 0;
}

}  // namespace

// Whether the slot holds a 0: nothing was ever created there.
bool Model::is_zero(int ctx) const {
    return ctx != kUnknown && !contexts_.contains(ctx);
}

Expect Model::refuse_info(const Step& step) const {
    if (step.null_argument > 0) return refuse("NULL");
    rknn_matmul_info info = step.info;
    if (step.call == Call::kConvertB) {
        if (memory(step.source) == nullptr || memory(step.mem) == nullptr) return refuse("NULL");
        info.B_layout = 1;
    }
    if (Expect expect = refuse_type(info, settings_); !expect.ok) return expect;
    if (step.call != Call::kCreateDynamic) {
        rknn_matmul_shape shape{info.M, info.K, info.N};
        if (step.call == Call::kConvertB) shape.M = 1;
        return shape_is_bad(shape, info.type, settings_) ? refuse("shape") : Expect{};
    }
    if (step.count < 1 || step.count > 512) return refuse("number of shapes");
    for (const rknn_matmul_shape& shape : step.shapes) {
        if (shape_is_bad(shape, info.type, settings_)) return refuse("a shape");
        if (shape.K != info.K || shape.N != info.N) return refuse("K or N differs");
    }
    return {};
}

// Rows "attributes that are not those of the context", "memory smaller than its attribute", domains.
Expect Model::refuse_bind(const Step& step, const Context& context) const {
    if (step.null_argument > 0) return refuse("NULL");
    const Memory* mem = memory(step.mem);
    if (mem == nullptr) return refuse("no such memory");
    if (mem->edited) return refuse("edited memory");
    const auto of_shape = static_cast<size_t>(step.shape);
    rknn_matmul_tensor_attr given{};
    if (of_shape < context.rows.size()) given = attr_of(context.info, step.operand, context.rows[of_shape]);
    if (step.edit.has_value()) apply_edit(*step.edit, &given);
    const int operand = operand_named(given.name);
    if (operand < 0) return refuse("unknown name");
    if (operand != kB && context.M == 0) return refuse("no shape yet");
    const rknn_matmul_tensor_attr own = attr_of(context.info, operand, std::max(context.M, 1));
    if (!same_attr(given, own)) return refuse("other attributes");
    if (mem->allocation->domain != context.info.iommu_domain_id) return refuse("other domain");
    if (mem->size < own.size) return refuse("too small");
    const auto dtype = operand == kC ? output_of(context.info.type) : input_of(context.info.type);
    const bool native = operand == kB ? context.info.B_layout == 1 : context.info.AC_layout == 1;
    const uint64_t alignment = native ? 16 : rknpu2::dtype_bytes(dtype, 1);
    if (mem->offset % alignment != 0) return refuse("misaligned");
    if (operand == kB && context.bindings[kB].bound && settings_.rebind_reject) return refuse("B again");
    return {};
}

bool Model::in_use(const Context& context, int operand) const {
    const Binding& binding = context.bindings[operand];
    if (!binding.bound || (operand != kB && binding.M != context.M)) return false;
    return binding.converted || memory(binding.mem) != nullptr;
}

Expect Model::refuse_run(const Context& context) const {
    if (context.M == 0) return refuse("no shape yet", 0);
    if (settings_.contexts_fail && live_contexts() > kContextLimit)
        return refuse("too many contexts", RKNN_ERR_FAIL);
    const bool inputs = in_use(context, kA) && in_use(context, kB);
    const bool output = in_use(context, kC);
    if (!output) return refuse("C is not bound", inputs ? RKNN_ERR_OUTPUT_INVALID : 0);
    if (!inputs && !settings_.unbound_zeros) return refuse("an input is not bound", RKNN_ERR_INPUT_INVALID);
    return {};
}

int64_t quant_count(const rknn_matmul_info& info, int operand) {
    if (operand != kB) return 1;
    if (info.B_quant_type == 2) return info.N;
    return info.B_quant_type == 4 ? int64_t{info.K} * info.N / info.group_size : 1;
}

Expect Model::refuse_quant(const Step& step, const Context& context) const {
    // Per group, no zero points stand for zeros.
    const bool groups = context.info.B_quant_type == 4 && step.operand == kB;
    const bool absent = groups && step.call == Call::kSetQuant && step.zp_count == 0;
    if (step.null_argument > 0 && !(absent && step.null_argument == 3)) return refuse("NULL");
    if (step.edit.has_value()) return refuse("unknown name");
    const int type = context.info.type;
    const bool channels = context.info.B_quant_type == 2 && step.operand == kB;
    if (step.call == Call::kGetQuant)
        return channels && type == 2 ? Expect{} : refuse("nothing was normalised");
    if (type != 2 && type != 3 && !groups) return refuse("type without parameters");
    const int64_t count = quant_count(context.info, step.operand);
    if (step.count != count || (step.zp_count != count && !absent)) return refuse("number of scales");
    if (step.zp != 0 && !absent) return refuse("zero point");
    if (!std::isfinite(step.scale) || step.scale <= 0) return refuse("scale");
    return {};
}

Expect Model::refuse_import(const Step& step) const {
    if (context(step.ctx) == nullptr) return refuse("no such context", RKNN_ERR_CTX_INVALID);
    if (step.null_argument > 0) return refuse("NULL");
    const Memory* source = memory(step.source);
    if (source == nullptr || source->edited) return refuse("no source");
    const Allocation& allocation = *source->allocation;
    const bool by_fd = step.call == Call::kFromFd;
    if (by_fd && (step.fd > Fd::kDuplicate || source->by_address)) return refuse("foreign descriptor");

    const int64_t first = step.offset + (by_fd ? 0 : static_cast<int64_t>(source->offset));
    if (step.size == 0) return refuse("empty");
    const uint64_t end = static_cast<uint64_t>(first) + step.size;
    const bool outside = first < 0 || end > allocation.pages();
    const bool elsewhere = context(step.ctx)->info.iommu_domain_id != allocation.domain;
    if (!by_fd && (outside || elsewhere))  // another buffer may have the address
        return {.ok = false, .why = "not in this buffer", .unsure = true};
    if (outside) return refuse("outside the buffer");
    return {.unsure = end > allocation.size};
}

// Destroying and synchronising a memory; creating one.
Expect Model::refuse_memory_use(const Step& step) const {
    if (step.call == Call::kCreateMem || step.call == Call::kCreateMem2) {
        const bool second = step.call == Call::kCreateMem2;
        const bool without = second && is_zero(step.ctx) && (step.flags & 0x20000U) != 0;
        if (context(step.ctx) == nullptr && !without) return refuse("no such context");
        if (second && ((step.flags & ~uint64_t{0x20007}) != 0 || (step.flags & 3U) == 3))
            return refuse("flags");
        if (step.size == 0 || step.size > UINT32_MAX) return refuse("size");
        const int domain = without ? 0 : context(step.ctx)->info.iommu_domain_id;
        const uint64_t taken = used(domain) + (step.size + 4095) / 4096 * 4096;
        if (taken > kDomainBytes - 4096) return refuse("the domain is full");
        return {.unsure = taken > kDomainBytes / 2};  // free space may be in pieces
    }
    const Memory* mem = memory(step.mem);
    const Context* with = context(step.ctx);
    const bool without = is_zero(step.ctx) && mem != nullptr && is_zero(mem->ctx);
    if (mem == nullptr || step.null_argument > 0)
        return refuse("no such memory", with == nullptr ? 0 : kParam);
    if (mem->edited) return refuse("edited memory", with == nullptr && !without ? 0 : kParam);
    if (with == nullptr && !without) return refuse("no such context", RKNN_ERR_CTX_INVALID);
    if (with != nullptr && with->info.iommu_domain_id != mem->allocation->domain && mem->ctx != step.ctx)
        return refuse("other domain");
    if (step.call == Call::kSync) return step.flags < 1 || step.flags > 3 ? refuse("mode") : Expect{};
    return {};
}

Expect Model::refuse_of_context(const Step& step) const {
    const Context* found = context(step.ctx);
    if (found == nullptr) return refuse("no such context", RKNN_ERR_CTX_INVALID);
    switch (step.call) {
        case Call::kSelectShape: {
            if (step.null_argument > 0) return refuse("NULL");
            const rknn_matmul_shape& shape = step.shapes.front();
            const bool known =
                found->dynamic && shape.K == found->info.K && shape.N == found->info.N &&
                std::find(found->rows.begin(), found->rows.end(), shape.M) != found->rows.end();
            return known ? Expect{} : refuse("none of its shapes");
        }
        case Call::kBind:
            return refuse_bind(step, *found);
        case Call::kCoreMask: {
            const uint64_t masks[] = {0, 1, 2, 4, 3, 7, 0xFFFF};
            const auto known = std::find(masks, masks + 7, step.flags) - masks;
            if (known == 7) return refuse("core mask");
            return known < 4 || settings_.cores_fall_back ? Expect{} : refuse("several cores", RKNN_ERR_FAIL);
        }
        case Call::kSetQuant:
        case Call::kGetQuant:
            return refuse_quant(step, *found);
        case Call::kRun:
            return refuse_run(*found);
        case Call::kCollide: {
            Expect expect = refuse_run(*found);
            expect.code = 0;  // or that of the collision
            return expect;
        }
        case Call::kQuery:
            if (step.null_argument > 0) return refuse("NULL");
            return step.flags != 5 || step.size < 512 ? refuse("command or size") : Expect{};
        default:
            return {};
    }
}

Expect Model::predict(const Step& step) const {
    switch (step.call) {
        case Call::kCreate:
        case Call::kCreateDynamic:
        case Call::kConvertB:
            return refuse_info(step);
        case Call::kFromFd:
        case Call::kFromPhys:
            return refuse_import(step);
        case Call::kCreateMem:
        case Call::kCreateMem2:
        case Call::kDestroyMem:
        case Call::kSync:
            return refuse_memory_use(step);
        case Call::kLines:
            return memory(step.mem) == nullptr ? refuse("no such memory") : Expect{};
        case Call::kWrite:
        case Call::kInspect:
        case Call::kEditMem:
            return {};
        default:
            return refuse_of_context(step);
    }
}

}  // namespace rknnsim_random
