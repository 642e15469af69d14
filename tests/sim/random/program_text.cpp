// SPDX-License-Identifier: MIT
// Programs as text.
#include "base/format.hpp"
#include "sim/random/program.hpp"

namespace rknnsim_random {
namespace {

using rknpu2::format;

std::string slot(const char* array, int index) {
    if (index == kNone) return "0";
    if (index == kUnknown) return format("unknown_%s", array);
    return format("%s[%d]", array, index);
}

std::string text_of(const rknn_matmul_info& info) {
    std::string text = format("{M=%d K=%d N=%d type=%d B_layout=%d AC_layout=%d", info.M, info.K, info.N,
                              info.type, info.B_layout, info.AC_layout);
    if (info.iommu_domain_id != 0) text += format(" domain=%d", info.iommu_domain_id);
    if (info.B_quant_type != 0) text += format(" B_quant=%d", info.B_quant_type);
    if (info.AC_quant_type != 0) text += format(" AC_quant=%d", info.AC_quant_type);
    if (info.group_size != 0) text += format(" group=%d", info.group_size);
    return text + "}";
}

std::string text_of(const std::vector<rknn_matmul_shape>& shapes) {
    std::string text = "{";
    for (const rknn_matmul_shape& shape : shapes) {
        text += format("%s%dx%dx%d", text.size() > 1 ? ", " : "", shape.M, shape.K, shape.N);
        if (text.size() < 200) continue;
        text += ", ...";
        break;
    }
    return text + "}";
}

std::string text_of(const std::optional<Edit>& edit) {
    constexpr const char* kFields[] = {"name",      "n_dims",    "dims[0]", "dims[n_dims-1]", "size", "type",
                                       "virt_addr", "phys_addr", "fd",      "offset",         "flags"};
    if (!edit.has_value()) return "";
    return format(" with %s=%lld", kFields[edit->field], static_cast<long long>(edit->value));
}

std::string memory_text(const Step& step) {
    const std::string target = slot("mem", step.mem);
    const std::string ctx = slot("ctx", step.ctx);
    const std::string source = slot("mem", step.source);
    const auto size = static_cast<unsigned long long>(step.size);
    const auto offset = static_cast<long long>(step.offset);
    constexpr const char* kFds[] = {"->fd", "->fd (dup)", "pipe", "closed", "/dev/null", "-1"};
    switch (step.call) {
        case Call::kCreateMem:
            return format("%s = rknn_create_mem(%s, %llu)", target.c_str(), ctx.c_str(), size);
        case Call::kCreateMem2:
            return format("%s = rknn_create_mem2(%s, %llu, 0x%llx)", target.c_str(), ctx.c_str(), size,
                          static_cast<unsigned long long>(step.flags));
        case Call::kFromFd: {
            const char* fd = kFds[static_cast<int>(step.fd)];
            return format("%s = rknn_create_mem_from_fd(%s, %s%s, %s->virt_addr, %llu, %lld)", target.c_str(),
                          ctx.c_str(), step.fd <= Fd::kDuplicate ? source.c_str() : "", fd, source.c_str(),
                          size, offset);
        }
        default:
            return format("%s = rknn_create_mem_from_phys(%s, %s->phys_addr + %lld, ..., %llu)",
                          target.c_str(), ctx.c_str(), source.c_str(), offset, size);
    }
}

std::string context_text(const Step& step) {
    const std::string ctx = slot("ctx", step.ctx);
    const char operand = "ABC"[step.operand];
    switch (step.call) {
        case Call::kCreate:
            return format("rknn_matmul_create(&%s, %s, &attr[%d])", ctx.c_str(), text_of(step.info).c_str(),
                          step.ctx);
        case Call::kCreateDynamic:
            return format("rknn_matmul_create_dynamic_shape(&%s, %s, %lld, %s, attr[%d])", ctx.c_str(),
                          text_of(step.info).c_str(), static_cast<long long>(step.count),
                          text_of(step.shapes).c_str(), step.ctx);
        case Call::kSelectShape:
            return format("rknn_matmul_set_dynamic_shape(%s, %s)", ctx.c_str(), text_of(step.shapes).c_str());
        case Call::kBind:
            return format("rknn_matmul_set_io_mem(%s, %s, &attr[%d][%d].%c%s)", ctx.c_str(),
                          slot("mem", step.mem).c_str(), step.ctx, step.shape, operand,
                          text_of(step.edit).c_str());
        case Call::kCoreMask:
            return format("rknn_matmul_set_core_mask(%s, %lld)", ctx.c_str(),
                          static_cast<long long>(step.flags));
        case Call::kSetQuant:
            return format("rknn_matmul_set_quant_params(%s, {%c scale=%.9g x %lld, zp=%d x %lld}%s)",
                          ctx.c_str(), operand, step.scale, static_cast<long long>(step.count), step.zp,
                          static_cast<long long>(step.zp_count), text_of(step.edit).c_str());
        case Call::kGetQuant:
            return format("rknn_matmul_get_quant_params(%s, {%c}, &scale)", ctx.c_str(), operand);
        case Call::kCollide:
            return format("two threads: rknn_matmul_run(%s) x %llu", ctx.c_str(),
                          static_cast<unsigned long long>(step.size));
        default:
            return format("%s(%s)", call_name(step.call), ctx.c_str());
    }
}

std::string other_text(const Step& step) {
    const std::string mem = slot("mem", step.mem);
    const std::string ctx = slot("ctx", step.ctx);
    switch (step.call) {
        case Call::kConvertB:
            return format("rknn_B_normal_layout_to_native_layout(%s, %s, %d, %d, %s)",
                          slot("mem", step.source).c_str(), mem.c_str(), step.info.K, step.info.N,
                          text_of(step.info).c_str());
        case Call::kDestroyMem:
            return format("rknn_destroy_mem(%s, %s)", ctx.c_str(), mem.c_str());
        case Call::kSync:
            return format("rknn_mem_sync(%s, %s, %lld)", ctx.c_str(), mem.c_str(),
                          static_cast<long long>(step.flags));
        case Call::kQuery:
            return format("rknn_query(%s, %lld, &version, %llu)", ctx.c_str(),
                          static_cast<long long>(step.flags), static_cast<unsigned long long>(step.size));
        case Call::kWrite:
            return format("write(%s, offset=%lld, bytes=%llu, pattern=%d, seed=0x%llx)", mem.c_str(),
                          static_cast<long long>(step.offset), static_cast<unsigned long long>(step.size),
                          static_cast<int>(step.pattern), static_cast<unsigned long long>(step.seed));
        case Call::kLines:
            return format("rknnsim_cache_lines(%s + %lld, %llu, %llu)", mem.c_str(),
                          static_cast<long long>(step.offset), static_cast<unsigned long long>(step.size),
                          static_cast<unsigned long long>(step.flags));
        case Call::kInspect:
            return format("inspect(%s)", mem.c_str());
        default:
            return format("%s the rknn_tensor_mem %s%s", step.edit.has_value() ? "edit" : "put back",
                          mem.c_str(), text_of(step.edit).c_str());
    }
}

}  // namespace

const char* call_name(Call call) {
    constexpr const char* kNames[] = {"rknn_matmul_create",
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
                                      "write",
                                      "inspect",
                                      "edit",
                                      "rknnsim_cache_lines",
                                      "collide"};
    return kNames[static_cast<int>(call)];
}

std::string text_of(const Step& step) {
    std::string text = step.section > 0 ? format("[thread %d.%d] ", step.section, step.lane) : "";
    if (step.call <= Call::kDestroy || step.call == Call::kCollide) {
        text += context_text(step);
    } else if (step.call >= Call::kCreateMem && step.call <= Call::kFromPhys) {
        text += memory_text(step);
    } else {
        text += other_text(step);
    }
    text += ";";
    if (step.null_argument > 0) text += format("  // pointer %d is NULL", step.null_argument);
    if (*step.wrong != '\0') text += format("  // wrong: %s", step.wrong);
    return text;
}

std::string text_of(const Program& program) {
    std::string text = format("// seed %llu\n//", static_cast<unsigned long long>(program.seed));
    for (const auto& [name, value] : program.settings.environment()) {
        if (value != nullptr) text += format(" %s=%s", name, value);
    }
    text += "\n";
    for (size_t i = 0; i < program.steps.size(); ++i)
        text += format("/* %3zu */ %s\n", i, text_of(program.steps[i]).c_str());
    return text;
}

}  // namespace rknnsim_random
