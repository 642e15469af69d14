// SPDX-License-Identifier: MIT
// What each operation's step means in ggml.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>

#include "ggml/random/build.hpp"
#include "ggml/random/custom.hpp"

namespace rknpu2::test {
namespace {

struct Call {
    const HostFunctions& ggml;
    ggml_context* context;
    const Step& step;
    const std::vector<ggml_tensor*>& sources;
    int variant = 0;

    // A missing source is an error of the recipe, not a null pointer.
    ggml_tensor* source(size_t i) const {
        if (i >= sources.size()) throw BuildError(step.op + " lacks a source");
        return sources[i];
    }
    ggml_tensor* maybe(size_t i) const { return i < sources.size() ? sources[i] : nullptr; }
    int64_t n(size_t i, int64_t otherwise = 0) const { return whole(step, i, otherwise); }
    int i(size_t at, int otherwise = 0) const { return static_cast<int>(whole(step, at, otherwise)); }
    float f(size_t at, float otherwise = 0) const {
        return static_cast<float>(parameter(step, at, static_cast<double>(otherwise)));
    }
    size_t bytes(size_t at) const { return static_cast<size_t>(whole(step, at)); }
};

using Make = ggml_tensor* (*)(const Call&);

// ggml does not check all of these, and would read beyond.
void require_alike(const Call& c, size_t first, size_t last) {
    for (size_t i = first + 1; i < last; ++i) {
        const ggml_tensor *const a = c.source(first), *const b = c.source(i);
        if (!std::equal(a->ne, a->ne + GGML_MAX_DIMS, b->ne))
            throw BuildError("operands that are not alike: " + text_of(c.step));
    }
}

// A product, and what its hints ask for: how exact sums must be, whether the weight is a rotation, how exact
// activations.
ggml_tensor* hinted(const Call& c, ggml_tensor* product) {
    if (c.i(0) != 0) c.ggml.ggml_prec_set_acc(product, static_cast<ggml_prec>(c.i(0)));
    if (c.i(1) != 0) c.ggml.ggml_mul_mat_set_hint(product, static_cast<ggml_op_hint>(c.i(1)));
    if (c.i(2) != 0) c.ggml.ggml_prec_set_src(product, static_cast<ggml_prec>(c.i(2)), 1);
    return product;
}

// Only a matrix of float32 is updated; ggml does not check the kinds of the others.
ggml_tensor* optimiser_step(const Call& c) {
    for (size_t i = 0; i < c.sources.size(); ++i)
        if (c.source(i)->type != GGML_TYPE_F32) throw BuildError("not float32: " + text_of(c.step));
    if (c.source(0)->op != GGML_OP_NONE) throw BuildError("no parameter: " + text_of(c.step));
    c.ggml.ggml_set_param(c.source(0));
    return c.step.op == "opt_step_sgd"
               ? c.ggml.ggml_opt_step_sgd(c.context, c.source(0), c.source(1), c.source(2))
               : c.ggml.ggml_opt_step_adamw(c.context, c.source(0), c.source(1), c.source(2), c.source(3),
                                            c.source(4));
}

// A result as source `like` is.
ggml_tensor* custom(const Call& c, size_t like, ggml_custom_op_t function) {
    const ggml_tensor* const shape = c.source(like);
    std::vector<ggml_tensor*> sources = c.sources;
    for (const ggml_tensor* const source : sources)
        if (source->type != GGML_TYPE_F32) throw BuildError("not float32: " + text_of(c.step));
    return c.ggml.ggml_custom_4d(c.context, GGML_TYPE_F32, shape->ne[0], shape->ne[1], shape->ne[2],
                                 shape->ne[3], sources.data(), static_cast<int>(sources.size()), function,
                                 GGML_N_TASKS_MAX, nullptr);
}

#define UNARY_CALL(function) [](const Call& c) { return c.ggml.function(c.context, c.source(0)); }
#define BINARY_CALL(function) \
    [](const Call& c) { return c.ggml.function(c.context, c.source(0), c.source(1)); }

ggml_tensor* flash_attention(const Call& c) {
    // sources: q, k, v, mask, sinks; what ggml does not check, it would read beyond
    const ggml_tensor *const q = c.source(0), *const k = c.source(1), *const v = c.source(2),
                             *const m = c.maybe(3);
    const bool fits = k->ne[1] == v->ne[1] && k->ne[2] == v->ne[2] && q->ne[2] % k->ne[2] == 0 &&
                      (m == nullptr || (m->ne[0] == k->ne[1] && m->ne[1] >= q->ne[1])) &&
                      (c.maybe(4) == nullptr || c.maybe(4)->ne[0] == q->ne[2]);
    if (!fits) throw BuildError("operands that do not fit: " + text_of(c.step));
    ggml_tensor* const result = c.ggml.ggml_flash_attn_ext(c.context, c.source(0), c.source(1), c.source(2),
                                                           c.maybe(3), c.f(0), c.f(1), c.f(2));
    if (c.i(3) != 0) c.ggml.ggml_prec_set_acc(result, static_cast<ggml_prec>(c.i(3)));
    if (c.maybe(4) != nullptr) c.ggml.ggml_flash_attn_ext_add_sinks(result, c.source(4));
    return result;
}

ggml_tensor* rope(const Call& c) {
    // parameters: dimensions, mode, base
    const int mode = c.i(1);
    if ((mode & GGML_ROPE_TYPE_MROPE) == 0) {
        return c.ggml.ggml_rope_ext(c.context, c.source(0), c.source(1), c.maybe(2), c.i(0), mode, 0,
                                    c.f(2, 10000), 1, 0, 1, 32, 1);
    }
    const int quarter = c.i(0) / 8;
    int sections[GGML_MROPE_SECTIONS] = {quarter, quarter, quarter, quarter};
    return c.ggml.ggml_rope_multi(c.context, c.source(0), c.source(1), nullptr, c.i(0), sections, mode, 0,
                                  c.f(2, 10000), 1, 0, 1, 32, 1);
}

ggml_tensor* soft_max(const Call& c) {
    ggml_tensor* const result =
        c.ggml.ggml_soft_max_ext(c.context, c.source(0), c.maybe(1), c.f(0, 1), c.f(1));
    if (c.maybe(2) != nullptr) c.ggml.ggml_soft_max_add_sinks(result, c.source(2));
    return result;
}

ggml_tensor* glu(const Call& c) {
    const auto op = static_cast<ggml_glu_op>(c.variant);
    if (c.maybe(1) == nullptr && op < GGML_GLU_OP_SWIGLU_OAI)
        return c.ggml.ggml_glu(c.context, c.source(0), op, c.i(0) != 0);
    if (op == GGML_GLU_OP_SWIGLU_OAI)
        return c.ggml.ggml_swiglu_oai(c.context, c.source(0), c.source(1), 1.7F, 7.0F);
    if (op == GGML_GLU_OP_SWIGLU_CLAMP)
        return c.ggml.ggml_swiglu_clamp(c.context, c.source(0), c.source(1), 7.0F);
    return c.ggml.ggml_glu_split(c.context, c.source(0), c.maybe(1), op);
}

ggml_tensor* unary(const Call& c) {
    const auto op = static_cast<ggml_unary_op>(c.variant);
    if (op == GGML_UNARY_OP_XIELU) return c.ggml.ggml_xielu(c.context, c.source(0), 0.8F, 0.8F, 0.5F, 1e-6F);
    return c.i(0) != 0 ? c.ggml.ggml_unary_inplace(c.context, c.source(0), op)
                       : c.ggml.ggml_unary(c.context, c.source(0), op);
}

// A part of a tensor: sizes, an offset in bytes, and strides in bytes where they are not those of rows one
// behind the other.
ggml_tensor* view(const Call& c) {
    ggml_tensor* const from = c.source(0);
    const auto stride = [&](size_t at, size_t otherwise) { return c.n(at) != 0 ? c.bytes(at) : otherwise; };
    const size_t row = stride(5, from->nb[1]);
    const size_t plane = stride(6, row * static_cast<size_t>(c.n(1, 1)));
    return c.ggml.ggml_view_4d(c.context, from, c.n(0, 1), c.n(1, 1), c.n(2, 1), c.n(3, 1), row, plane,
                               stride(7, plane * static_cast<size_t>(c.n(2, 1))), c.bytes(4));
}

const std::map<std::string, Make>& plain_operations() {
    static const std::map<std::string, Make> table = {
        {"mul_mat",
         [](const Call& c) { return hinted(c, c.ggml.ggml_mul_mat(c.context, c.source(0), c.source(1))); }},
        {"mul_mat_id",
         [](const Call& c) {
             return hinted(c, c.ggml.ggml_mul_mat_id(c.context, c.source(0), c.source(1), c.source(2)));
         }},
        {"add_id",
         [](const Call& c) { return c.ggml.ggml_add_id(c.context, c.source(0), c.source(1), c.source(2)); }},
        {"add", BINARY_CALL(ggml_add)},
        {"sub", BINARY_CALL(ggml_sub)},
        {"mul", BINARY_CALL(ggml_mul)},
        {"div", BINARY_CALL(ggml_div)},
        {"add_inplace", BINARY_CALL(ggml_add_inplace)},
        {"mul_inplace", BINARY_CALL(ggml_mul_inplace)},
        {"scale",
         [](const Call& c) { return c.ggml.ggml_scale_bias(c.context, c.source(0), c.f(0, 1), c.f(1)); }},
        {"scale_inplace",
         [](const Call& c) { return c.ggml.ggml_scale_inplace(c.context, c.source(0), c.f(0, 1)); }},
        {"sqr", UNARY_CALL(ggml_sqr)},
        {"sqrt", UNARY_CALL(ggml_sqrt)},
        {"log", UNARY_CALL(ggml_log)},
        {"sin", UNARY_CALL(ggml_sin)},
        {"clamp",
         [](const Call& c) { return c.ggml.ggml_clamp(c.context, c.source(0), c.f(0, -1), c.f(1, 1)); }},
        {"norm", [](const Call& c) { return c.ggml.ggml_norm(c.context, c.source(0), 1e-5F); }},
        {"rms_norm", [](const Call& c) { return c.ggml.ggml_rms_norm(c.context, c.source(0), 1e-5F); }},
        {"l2_norm", [](const Call& c) { return c.ggml.ggml_l2_norm(c.context, c.source(0), 1e-5F); }},
        {"rope", rope},
        {"flash_attn", flash_attention},
        {"soft_max", soft_max},
        {"set_rows",
         [](const Call& c) {
             return c.ggml.ggml_set_rows(c.context, c.source(0), c.source(1), c.source(2));
         }},
        {"get_rows", BINARY_CALL(ggml_get_rows)},
        {"cpy", BINARY_CALL(ggml_cpy)},
        {"cont", UNARY_CALL(ggml_cont)},
        {"cast",
         [](const Call& c) {
             return c.ggml.ggml_cast(c.context, c.source(0), type_of(c.ggml, c.step.type));
         }},
        {"view", view},
        {"reshape",
         [](const Call& c) {
             return c.ggml.ggml_reshape_4d(c.context, c.source(0), c.n(0, 1), c.n(1, 1), c.n(2, 1),
                                           c.n(3, 1));
         }},
        {"permute",
         [](const Call& c) {
             return c.ggml.ggml_permute(c.context, c.source(0), c.i(0), c.i(1), c.i(2), c.i(3));
         }},
        {"transpose", UNARY_CALL(ggml_transpose)},
    };
    return table;
}

// Operations that the plug-in's plans do not know.
const std::map<std::string, Make>& other_operations() {
    static const std::map<std::string, Make> table = {
        {"concat",
         [](const Call& c) { return c.ggml.ggml_concat(c.context, c.source(0), c.source(1), c.i(0)); }},
        {"repeat",
         [](const Call& c) {
             return c.ggml.ggml_repeat_4d(c.context, c.source(0), c.n(0, 1), c.n(1, 1), c.n(2, 1), c.n(3, 1));
         }},
        {"sum_rows", UNARY_CALL(ggml_sum_rows)},
        {"mean", UNARY_CALL(ggml_mean)},
        {"cumsum", UNARY_CALL(ggml_cumsum)},
        {"argsort_top_k",
         [](const Call& c) { return c.ggml.ggml_argsort_top_k(c.context, c.source(0), c.i(0)); }},
        {"diag_mask_inf",
         [](const Call& c) { return c.ggml.ggml_diag_mask_inf(c.context, c.source(0), c.i(0)); }},
        {"pad",
         [](const Call& c) {
             return c.ggml.ggml_pad(c.context, c.source(0), c.i(0), c.i(1), c.i(2), c.i(3));
         }},
        {"roll",
         [](const Call& c) {
             return c.ggml.ggml_roll(c.context, c.source(0), c.i(0), c.i(1), c.i(2), c.i(3));
         }},
        {"pool_1d",
         [](const Call& c) {
             return c.ggml.ggml_pool_1d(c.context, c.source(0), GGML_OP_POOL_AVG, c.i(0), c.i(0), 0);
         }},
        {"pool_2d",
         [](const Call& c) {
             return c.ggml.ggml_pool_2d(c.context, c.source(0), GGML_OP_POOL_MAX, c.i(0), c.i(1), c.i(0),
                                        c.i(1), 0, 0);
         }},
        {"leaky_relu",
         [](const Call& c) { return c.ggml.ggml_leaky_relu(c.context, c.source(0), 0.1F, false); }},
        {"ssm_conv", BINARY_CALL(ggml_ssm_conv)},
        {"ssm_scan",
         [](const Call& c) {
             if (c.source(0)->ne[3] < c.source(1)->ne[3])
                 throw BuildError("other states: " + text_of(c.step));
             return c.ggml.ggml_ssm_scan(c.context, c.source(0), c.source(1), c.source(2), c.source(3),
                                         c.source(4), c.source(5), c.source(6), 1);
         }},
        {"rwkv_wkv6",
         [](const Call& c) {
             require_alike(c, 0, 3);
             if (!std::equal(c.source(4)->ne, c.source(4)->ne + GGML_MAX_DIMS, c.source(0)->ne))
                 throw BuildError("operands that are not alike: " + text_of(c.step));
             return c.ggml.ggml_rwkv_wkv6(c.context, c.source(0), c.source(1), c.source(2), c.source(3),
                                          c.source(4), c.source(5));
         }},
        {"rwkv_wkv7",
         [](const Call& c) {
             require_alike(c, 0, 6);
             return c.ggml.ggml_rwkv_wkv7(c.context, c.source(0), c.source(1), c.source(2), c.source(3),
                                          c.source(4), c.source(5), c.source(6));
         }},
        {"gated_linear_attn",
         [](const Call& c) {
             require_alike(c, 0, 4);
             return c.ggml.ggml_gated_linear_attn(c.context, c.source(0), c.source(1), c.source(2),
                                                  c.source(3), c.source(4), c.f(0, 1));
         }},
        {"gated_delta_net",
         [](const Call& c) {
             require_alike(c, 0, 3);
             const auto alike = [&](size_t i) {
                 return std::equal(c.source(0)->ne + 1, c.source(0)->ne + GGML_MAX_DIMS, c.source(i)->ne + 1);
             };
             if (!alike(3) || !alike(4)) throw BuildError("gates of other rows: " + text_of(c.step));
             return c.ggml.ggml_gated_delta_net(c.context, c.source(0), c.source(1), c.source(2), c.source(3),
                                                c.source(4), c.source(5), 1);
         }},
        {"opt_step_adamw", optimiser_step},
        {"opt_step_sgd", optimiser_step},
        {"custom",
         [](const Call& c) {
             require_alike(c, 0, c.sources.size());
             return custom(c, 0, custom_sum);
         }},
        {"custom_turn", [](const Call& c) { return custom(c, 1, custom_turn); }},
        {"custom_inplace",
         [](const Call& c) {
             require_alike(c, 0, 2);
             if (c.source(0)->type != GGML_TYPE_F32) throw BuildError("not float32: " + text_of(c.step));
             ggml_tensor* operand = c.source(1);
             return c.ggml.ggml_custom_inplace(c.context, c.source(0), &operand, 1, custom_blend,
                                               GGML_N_TASKS_MAX, nullptr);
         }},
        {"map_custom1_inplace",
         [](const Call& c) {
             return c.ggml.ggml_map_custom1_inplace(c.context, c.source(0), custom_half, GGML_N_TASKS_MAX,
                                                    nullptr);
         }},
        {"map_custom1",
         [](const Call& c) {
             return c.ggml.ggml_map_custom1(c.context, c.source(0), custom_half, GGML_N_TASKS_MAX, nullptr);
         }},
        {"map_custom2",
         [](const Call& c) {
             return c.ggml.ggml_map_custom2(c.context, c.source(0), c.source(1), custom_mix, 1, nullptr);
         }},
        {"map_custom3",
         [](const Call& c) {
             return c.ggml.ggml_map_custom3(c.context, c.source(0), c.source(1), c.source(2), custom_mix3, 1,
                                            nullptr);
         }},
    };
    return table;
}

const std::map<std::string, int>& unary_variants() {
    static const std::map<std::string, int> table = {
        {"abs", GGML_UNARY_OP_ABS},           {"sgn", GGML_UNARY_OP_SGN},
        {"neg", GGML_UNARY_OP_NEG},           {"step", GGML_UNARY_OP_STEP},
        {"tanh", GGML_UNARY_OP_TANH},         {"elu", GGML_UNARY_OP_ELU},
        {"relu", GGML_UNARY_OP_RELU},         {"sigmoid", GGML_UNARY_OP_SIGMOID},
        {"gelu", GGML_UNARY_OP_GELU},         {"gelu_quick", GGML_UNARY_OP_GELU_QUICK},
        {"silu", GGML_UNARY_OP_SILU},         {"hardswish", GGML_UNARY_OP_HARDSWISH},
        {"exp", GGML_UNARY_OP_EXP},           {"hardsigmoid", GGML_UNARY_OP_HARDSIGMOID},
        {"expm1", GGML_UNARY_OP_EXPM1},       {"softplus", GGML_UNARY_OP_SOFTPLUS},
        {"gelu_erf", GGML_UNARY_OP_GELU_ERF}, {"xielu", GGML_UNARY_OP_XIELU},
        {"floor", GGML_UNARY_OP_FLOOR},       {"ceil", GGML_UNARY_OP_CEIL},
        {"round", GGML_UNARY_OP_ROUND},       {"trunc", GGML_UNARY_OP_TRUNC},
    };
    return table;
}

const std::map<std::string, int>& glu_variants() {
    static const std::map<std::string, int> table = {
        {"reglu", GGML_GLU_OP_REGLU},
        {"geglu", GGML_GLU_OP_GEGLU},
        {"swiglu", GGML_GLU_OP_SWIGLU},
        {"swiglu_oai", GGML_GLU_OP_SWIGLU_OAI},
        {"geglu_erf", GGML_GLU_OP_GEGLU_ERF},
        {"geglu_quick", GGML_GLU_OP_GEGLU_QUICK},
        {"swiglu_clamp", GGML_GLU_OP_SWIGLU_CLAMP},
    };
    return table;
}

}  // namespace

ggml_tensor* make_operation(const HostFunctions& ggml, ggml_context* context, const Step& step,
                            const std::vector<ggml_tensor*>& sources) {
    Call call{ggml, context, step, sources};
    const size_t dot = step.op.find('.');
    const std::string variant = dot == std::string::npos ? "" : step.op.substr(dot + 1);
    const std::string op = step.op.substr(0, dot);
    if (op == "unary" || op == "glu") {
        const auto& variants = op == "unary" ? unary_variants() : glu_variants();
        const auto found = variants.find(variant);
        if (found == variants.end()) return nullptr;
        call.variant = found->second;
        return op == "unary" ? unary(call) : glu(call);
    }
    for (const auto* const table : {&plain_operations(), &other_operations()}) {
        if (const auto found = table->find(op); found != table->end()) return found->second(call);
    }
    return nullptr;
}

}  // namespace rknpu2::test
