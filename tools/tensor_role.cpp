// SPDX-License-Identifier: MIT
#include "tensor_role.hpp"

#include <algorithm>
#include <charconv>
#include <optional>
#include <string_view>

namespace rknpu2 {
namespace {

using std::string_view;

// Exceptions to the rule that a 2-D `*.weight` is multiplied. `name` is matched against the name without
// "blk.N." and ".weight"; a leading or trailing '*' matches any text. The first row that matches decides.
struct NameRule {
    string_view name;
    TensorRole role;
};

constexpr NameRule kRules[] = {
    // Multiplied although it may have one dimension: a single output column.
    {"ffn_gate_inp_shexp", TensorRole::kMatrix},
    // The head of a language model; not the attention's "attn_output".
    {"output", TensorRole::kOutput},
    // GGML_OP_GET_ROWS: rows are picked by token, position or distance.
    {"token_embd", TensorRole::kLookup},
    {"position_embd", TensorRole::kLookup},
    {"*.position_embd", TensorRole::kLookup},  // of a multimodal projector
    {"token_types", TensorRole::kLookup},
    {"per_layer_token_embd", TensorRole::kLookup},
    {"nextn.embed_tokens", TensorRole::kLookup},
    {"attn_rel_b", TensorRole::kLookup},
    {"cross_attn_rel_b", TensorRole::kLookup},  // loaded, never used
    {"attn_compressor_ape", TensorRole::kLookup},
    {"indexer_compressor_ape", TensorRole::kLookup},
    {"ffn_gate_tid2eid", TensorRole::kLookup},
    {"d2t", TensorRole::kLookup},
    {"markov_w1", TensorRole::kLookup},
    {"selector_predecessor", TensorRole::kLookup},
    {"selector_successor", TensorRole::kLookup},
    {"masked_embd_*", TensorRole::kLookup},  // unused by llama.cpp
    // Mixture of experts: GGML_OP_MUL_MAT_ID. Before the norms, whose list has "ffn_norm_exps".
    {"ffn_norm_exps", TensorRole::kNorm},
    {"*_exps", TensorRole::kExperts},
    {"*_chexps", TensorRole::kExperts},
    // Norms may have two dimensions (one row for each head).
    {"*norm", TensorRole::kNorm},
    {"*norm_1", TensorRole::kNorm},
    {"*norm_2", TensorRole::kNorm},
    {"*.norm1", TensorRole::kNorm},
    {"*.norm2", TensorRole::kNorm},
    {"ple_norm_*", TensorRole::kNorm},
    // Convolutions: SSM_CONV, IM2COL or products element by element.
    {"*conv1d", TensorRole::kConvolution},
    {"ssm_conv1d_*", TensorRole::kConvolution},
    {"shortconv.conv", TensorRole::kConvolution},
    {"attn_conv_base", TensorRole::kConvolution},
    {"ffn_conv_base", TensorRole::kConvolution},
    {"convnext.*.dw", TensorRole::kConvolution},
    {"posnet.*.conv1", TensorRole::kConvolution},
    {"posnet.*.conv2", TensorRole::kConvolution},
    {"*patch_embd", TensorRole::kConvolution},
    // Element by element, or inside a recurrence.
    {"rope_*", TensorRole::kOther},
    {"attn_rot_embd", TensorRole::kOther},
    {"*attn_sinks", TensorRole::kOther},
    {"*_res_score", TensorRole::kOther},
    {"*_scale", TensorRole::kOther},
    {"*.gamma", TensorRole::kOther},
    {"ffn.act", TensorRole::kOther},
    {"exp_probs_b*", TensorRole::kOther},
    {"hc_*_base", TensorRole::kOther},
    {"output_hc_base", TensorRole::kOther},
    {"hrm.*", TensorRole::kOther},
    {"ssm_a", TensorRole::kOther},
    {"ssm_d", TensorRole::kOther},
    {"time_mix_lerp_*", TensorRole::kOther},
    {"channel_mix_lerp_*", TensorRole::kOther},
    {"time_mix_first", TensorRole::kOther},
    {"time_mix_decay", TensorRole::kOther},
    {"time_mix_ln", TensorRole::kNorm},
    {"time_mix_w0", TensorRole::kOther},
    {"time_mix_a0", TensorRole::kOther},
    {"time_mix_v0", TensorRole::kOther},
    {"time_mix_k_k", TensorRole::kOther},
    {"time_mix_k_a", TensorRole::kOther},
    {"time_mix_r_k", TensorRole::kOther},
};

// Matrices of the output unit (LLM_TENSOR_LAYER_OUTPUT) beside "output". Other tensors without a layer number
// are created with the first layer.
constexpr string_view kOutputUnit[] = {
    "output",    "cls",       "cls.output",
    "dense_2",   "dense_3",   "output_hc_*",
    "altup_*",   "fc",        "nextn.post_projection",
    "markov_w2", "conf_proj", "selector_hidden",
};

// Encoders whose result is an embedding: they have no output head, hence none that is tied.
constexpr string_view kHeadless[] = {
    "bert",         "modern-bert", "nomic-bert",      "nomic-bert-moe", "neo-bert",  "jina-bert-v2",
    "jina-bert-v3", "eurobert",    "gemma-embedding", "llama-embed",    "t5encoder",
};

constexpr string_view kEncoderDecoders[] = {"t5"};

// Far above LLAMA_MAX_LAYERS (512): a block_count beyond it is nonsense, and the names are counted instead.
constexpr uint64_t kMaxLayers = 65536;

// At most one '*' in the pattern.
bool matches(string_view pattern, string_view name) {
    const size_t star = pattern.find('*');
    if (star == string_view::npos) return pattern == name;
    const string_view head = pattern.substr(0, star);
    const string_view tail = pattern.substr(star + 1);
    return name.size() >= head.size() + tail.size() && name.starts_with(head) && name.ends_with(tail);
}

// A name taken apart: "blk.3.ffn_up.weight" is layer 3, stem "ffn_up", a weight; so is
// "dec.blk.3.ffn_up.weight". With ".lora_a" or ".lora_b" behind it, it is what an adapter has for that
// weight.
struct NameParts {
    string_view stem;
    std::optional<uint64_t> layer;
    bool is_weight = false;
    bool is_bias = false;
    bool is_lora = false;
};

std::optional<uint64_t> leading_number(string_view text) {
    uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    const bool whole = end == text.data() + text.size() || *end == '.';
    return error == std::errc() && whole ? std::optional(value) : std::nullopt;
}

NameParts take_apart(string_view name) {
    NameParts parts;
    for (const string_view suffix : {".lora_a", ".lora_b"}) {
        if (!name.ends_with(suffix)) continue;
        name.remove_suffix(suffix.size());
        parts.is_lora = true;
    }
    parts.is_weight = name.ends_with(".weight");
    parts.is_bias = name.ends_with(".bias");
    if (parts.is_weight || parts.is_bias) name = name.substr(0, name.rfind('.'));
    parts.stem = name;
    for (const string_view prefix : {"blk.", "enc.blk.", "dec.blk.", "v.blk.", "a.blk."}) {
        if (!name.starts_with(prefix)) continue;
        const string_view rest = name.substr(prefix.size());
        parts.layer = leading_number(rest);
        const size_t dot = rest.find('.');
        if (parts.layer && dot != string_view::npos) parts.stem = rest.substr(dot + 1);
        return parts;
    }
    for (const string_view prefix : {"convnext.", "posnet."}) {
        if (name.starts_with(prefix)) parts.layer = leading_number(name.substr(prefix.size()));
    }
    return parts;
}

template <size_t kCount>
bool is_among(const string_view (&names)[kCount], string_view name) {
    return std::find(std::begin(names), std::end(names), name) != std::end(names);
}

ModelKind kind_of(const GgufFile& file, string_view architecture) {
    if (file.text("general.type") == "adapter") return ModelKind::kAdapter;
    if (architecture == "clip") return ModelKind::kProjector;
    if (is_among(kEncoderDecoders, architecture)) return ModelKind::kEncoderDecoder;
    return is_among(kHeadless, architecture) ? ModelKind::kEncoder : ModelKind::kModel;
}

}  // namespace

const char* kind_name(ModelKind kind) {
    switch (kind) {
        case ModelKind::kModel:
            return "model";
        case ModelKind::kEncoder:
            return "encoder";
        case ModelKind::kEncoderDecoder:
            return "encoder-decoder";
        case ModelKind::kAdapter:
            return "adapter";
        case ModelKind::kProjector:
            return "projector";
    }
    return "model";
}

const char* role_name(TensorRole role) {
    switch (role) {
        case TensorRole::kMatrix:
            return "matrix";
        case TensorRole::kOutput:
            return "output";
        case TensorRole::kTiedEmbedding:
            return "embedding+output";
        case TensorRole::kExperts:
            return "experts";
        case TensorRole::kLookup:
            return "embedding";
        case TensorRole::kNorm:
            return "norm";
        case TensorRole::kBias:
            return "bias";
        case TensorRole::kConvolution:
            return "convolution";
        case TensorRole::kOther:
            return "other";
    }
    return "other";
}

bool is_weight_matrix(TensorRole role) {
    return role == TensorRole::kMatrix || role == TensorRole::kOutput || role == TensorRole::kTiedEmbedding;
}

ModelTraits traits_of(const GgufFile& file) {
    ModelTraits traits;
    traits.architecture = file.text("general.architecture");
    traits.layers = file.number(traits.architecture + ".block_count");
    if (traits.layers == 0 || traits.layers > kMaxLayers) {
        traits.layers = 0;
        for (const GgufTensor& tensor : file.tensors) {
            const std::optional<uint64_t> layer = take_apart(tensor.name).layer;
            if (layer && *layer < kMaxLayers) traits.layers = std::max(traits.layers, *layer + 1);
        }
    }
    traits.kind = kind_of(file, traits.architecture);
    traits.causal =
        traits.kind != ModelKind::kEncoder && file.flag(traits.architecture + ".attention.causal", true);
    traits.context = file.number(traits.architecture + ".context_length");
    // A file of a split model does not show whether another one has the head.
    traits.tied_output = traits.kind != ModelKind::kEncoder && file.number("split.count", 1) <= 1 &&
                         file.find("token_embd.weight") != nullptr && file.find("output.weight") == nullptr;
    traits.all_on_device = traits.kind == ModelKind::kProjector;
    return traits;
}

TensorRole role_of(const GgufTensor& tensor, const ModelTraits& traits) {
    const NameParts parts = take_apart(tensor.name);
    if (parts.is_bias) return TensorRole::kBias;
    if (traits.tied_output && tensor.name == "token_embd.weight") return TensorRole::kTiedEmbedding;
    for (const NameRule& rule : kRules) {
        if (!matches(rule.name, parts.stem)) continue;
        // Without ".weight" it is a vector that belongs to the matrix of that name.
        return is_weight_matrix(rule.role) && !parts.is_weight ? TensorRole::kOther : rule.role;
    }
    const bool matrix = parts.is_weight && (tensor.dimensions >= 2 || parts.is_lora);
    return matrix ? TensorRole::kMatrix : TensorRole::kOther;
}

bool wants_float_activations(const GgufTensor& tensor, const ModelTraits& traits) {
    return traits.architecture == "mistral4" && !take_apart(tensor.name).is_lora &&
           take_apart(tensor.name).stem == "ffn_down_exps";
}

bool is_offloaded(const GgufTensor& tensor, TensorRole role, const ModelTraits& traits, int64_t ngl) {
    if (role == TensorRole::kLookup) return false;
    if (traits.all_on_device) return true;
    const NameParts parts = take_apart(tensor.name);
    const bool output = role == TensorRole::kTiedEmbedding ||
                        (!parts.layer && std::any_of(std::begin(kOutputUnit), std::end(kOutputUnit),
                                                     [&](string_view p) { return matches(p, parts.stem); }));
    const uint64_t unit = output ? traits.layers : parts.layer.value_or(0);
    const uint64_t units = traits.layers + 1;
    const uint64_t moved = ngl < 0 ? units : std::min(units, static_cast<uint64_t>(ngl));
    return unit >= units - moved && moved > 0;
}

}  // namespace rknpu2
