// SPDX-License-Identifier: MIT
// rknn_matmul_*: creation, binding, running.
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "api/runtime_state.hpp"
#include "api/translate.hpp"
#include "base/format.hpp"

using namespace rknnsim;  // NOLINT: every function below is a thin frame around it

namespace {

Outcome refuse(std::string text) {
    return {Code::kInvalidParameter, std::move(text)};
}

// RKNNSIM_REALTIME: the call lasts at least as long as it would on the chip.
Outcome run_in_real_time(const char* function, RuntimeState& state, Context& context) {
    const auto begin = std::chrono::steady_clock::now();
    RKNNSIM_RETURN_IF_ERROR(state.simulator().run(function, context));
    const RunTime run = state.clock().last_run();
    std::this_thread::sleep_until(begin + std::chrono::nanoseconds(run.end_ns - run.call_ns));
    return {};
}

// Says of a context that computes nothing that it does not: to its program its runs look like successes.
void warn_of_zeros(const char* function, RuntimeState& state, const Context& context) {
    const QuantMode quant = context.problem().quant;
    if (!context.problem().result_is_zero()) return;
    if (quant == QuantMode::kPerGroup && state.simulator().settings().quant == QuantReading::kAbort) return;
    print_limited("warning", function,
                  rknpu2::format("%s: B_quant_type=%d is accepted, but all of C will be zeros, as on RK3588",
                                 context.name().c_str(), quant == QuantMode::kPerChannel ? 2 : 4));
}

}  // namespace

RKNNSIM_EXPORT int rknn_matmul_create(rknn_matmul_ctx* ctx, rknn_matmul_info* info,
                                      rknn_matmul_io_attr* io_attr) {
    return call("rknn_matmul_create", [&](RuntimeState& state) -> Outcome {
        if (ctx == nullptr || info == nullptr || io_attr == nullptr) return refuse("an argument is NULL");
        Request request = to_request(*info);
        request.shapes = {request.info};
        std::shared_ptr<Context> context;
        RKNNSIM_RETURN_IF_ERROR(state.simulator().create_context(request, ctx, &context));
        fill_io_attr(context->problem(), context->problem().shapes.front(), io_attr);
        warn_of_zeros("rknn_matmul_create", state, *context);
        return {};
    });
}

RKNNSIM_EXPORT int rknn_matmul_create_dynamic_shape(rknn_matmul_ctx* ctx, rknn_matmul_info* info,
                                                    int shape_num, rknn_matmul_shape dynamic_shapes[],
                                                    rknn_matmul_io_attr io_attrs[]) {
    return call("rknn_matmul_create_dynamic_shape", [&](RuntimeState& state) -> Outcome {
        if (ctx == nullptr || info == nullptr || dynamic_shapes == nullptr || io_attrs == nullptr) {
            return refuse("an argument is NULL");
        }
        // Before anything is read: a wrong number must not lead beyond the arrays.
        if (shape_num < 1 || static_cast<size_t>(shape_num) > kMaxShapes) {
            return refuse(
                rknpu2::format("the number of shapes is %d, but must be 1 to %zu", shape_num, kMaxShapes));
        }
        Request request = to_request(*info);
        request.dynamic = true;
        for (int i = 0; i < shape_num; ++i)
            request.shapes.push_back(to_shape(dynamic_shapes[i]));
        std::shared_ptr<Context> context;
        RKNNSIM_RETURN_IF_ERROR(state.simulator().create_context(request, ctx, &context));
        for (int i = 0; i < shape_num; ++i)
            fill_io_attr(context->problem(), context->problem().shapes[static_cast<size_t>(i)], &io_attrs[i]);
        warn_of_zeros("rknn_matmul_create_dynamic_shape", state, *context);
        return {};
    });
}

RKNNSIM_EXPORT int rknn_matmul_set_dynamic_shape(rknn_matmul_ctx ctx, rknn_matmul_shape* shape) {
    return call_context("rknn_matmul_set_dynamic_shape", ctx,
                        [&](RuntimeState&, Context& context) -> Outcome {
                            if (shape == nullptr) return refuse("the shape is NULL");
                            return context.select_shape(to_shape(*shape));
                        });
}

RKNNSIM_EXPORT int rknn_matmul_set_io_mem(rknn_matmul_ctx ctx, rknn_tensor_mem* mem,
                                          rknn_matmul_tensor_attr* attr) {
    return call_context("rknn_matmul_set_io_mem", ctx, [&](RuntimeState& state, Context& context) -> Outcome {
        if (attr == nullptr) return refuse("the attributes are NULL");
        std::shared_ptr<Memory> memory;
        RKNNSIM_RETURN_IF_ERROR(state.find_memory(mem, &memory));
        OperandDesc desc;
        RKNNSIM_RETURN_IF_ERROR(to_desc(*attr, &desc));
        return state.simulator().bind(context, desc, memory);
    });
}

RKNNSIM_EXPORT int rknn_matmul_set_core_mask(rknn_matmul_ctx ctx, rknn_core_mask core_mask) {
    constexpr const char* kName = "rknn_matmul_set_core_mask";
    return call_context(kName, ctx, [&](RuntimeState& state, Context& context) -> Outcome {
        switch (core_mask) {
            case 0:
            case 1:
            case 2:
            case 4:
                context.set_core_mask(core_mask);
                return {};
            case 3:
            case 7:
            case 0xffff: {
                context.set_core_mask(0);
                std::string text =
                    rknpu2::format("core mask 0x%x falls back to AUTO: one matmul runs on one core",
                                   static_cast<unsigned>(core_mask));
                if (!state.simulator().settings().several_cores_fall_back) {
                    return {Code::kFail, text + "; make a context for each core, and deal N to them"};
                }
                if (state.simulator().first_core_warning()) print_line("warning", kName, text);
                return {};
            }
            default:
                return {Code::kInvalidParameter,
                        rknpu2::format("core mask 0x%x is unknown", static_cast<unsigned>(core_mask))};
        }
    });
}

RKNNSIM_EXPORT int rknn_matmul_set_quant_params(rknn_matmul_ctx ctx, rknn_quant_params* params) {
    return call_context("rknn_matmul_set_quant_params", ctx, [&](RuntimeState&, Context& context) -> Outcome {
        if (params == nullptr || params->scale == nullptr || (params->zp == nullptr && params->zp_len != 0)) {
            return refuse("the parameters, their scale or their zp are NULL");
        }
        Operand which{};
        RKNNSIM_RETURN_IF_ERROR(to_operand(params->name, &which));
        // Before anything is read: a wrong number must not lead beyond the arrays.
        RKNNSIM_RETURN_IF_ERROR(context.check_quant_counts(which, params->scale_len, params->zp_len));
        return context.set_quant(which, {params->scale, params->scale + params->scale_len},
                                 {params->zp, params->zp + params->zp_len});
    });
}

RKNNSIM_EXPORT int rknn_matmul_get_quant_params(rknn_matmul_ctx ctx, rknn_quant_params* params,
                                                float* scale) {
    return call_context("rknn_matmul_get_quant_params", ctx, [&](RuntimeState&, Context& context) -> Outcome {
        if (params == nullptr || scale == nullptr) return refuse("an argument is NULL");
        Operand which{};
        RKNNSIM_RETURN_IF_ERROR(to_operand(params->name, &which));
        RKNNSIM_RETURN_IF_ERROR(context.check_get_quant(which));
        *scale = 1.0F;
        return {};
    });
}

RKNNSIM_EXPORT int rknn_matmul_run(rknn_matmul_ctx ctx) {
    constexpr const char* kName = "rknn_matmul_run";
    return call_context(kName, ctx, [](RuntimeState& state, Context& context) -> Outcome {
        if (context.problem().quant == QuantMode::kPerGroup &&
            state.simulator().settings().quant == QuantReading::kAbort) {
            print_line(
                "error", kName,
                context.name() + ": a run of type 9 ends the process on this board (RKNNSIM_QUANT=abort)");
            std::abort();
        }
        if (state.simulator().settings().real_time) return run_in_real_time(kName, state, context);
        return state.simulator().run(kName, context);
    });
}

RKNNSIM_EXPORT int rknn_matmul_destroy(rknn_matmul_ctx ctx) {
    constexpr const char* kName = "rknn_matmul_destroy";
    const auto destroy = [&](RuntimeState& state, Context&) -> Outcome {
        if (const size_t left = state.memory_count(ctx); left > 0) {
            const std::string text =
                rknpu2::format("%zu memories made with this context are still alive", left);
            if (state.simulator().settings().strict_destroy) return {Code::kFail, text};
            print_line("warning", kName, text);
        }
        return state.simulator().destroy_context(ctx);
    };
    return call_context(kName, ctx, destroy, Rule::kDoubleDestroy);
}

RKNNSIM_EXPORT int rknn_B_normal_layout_to_native_layout(void* B_input, void* B_output, int K, int N,
                                                         rknn_matmul_info* info) {
    constexpr const char* kName = "rknn_B_normal_layout_to_native_layout";
    return call(kName, [&](RuntimeState& state) -> Outcome {
        if (B_input == nullptr || B_output == nullptr || info == nullptr)
            return refuse("an argument is NULL");
        Request request = to_request(*info);
        request.b_layout = 1;
        request.shapes = {{1, K, N}};
        Problem problem;
        RKNNSIM_RETURN_IF_ERROR(check_request(request, state.simulator().settings(), &problem));
        return state.simulator().convert(kName, problem, B_input, B_output);
    });
}
