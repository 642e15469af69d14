// SPDX-License-Identifier: MIT
#include "tensor_role.hpp"

#include <algorithm>
#include <charconv>
#include <optional>
#include <string_view>
#include <vector>

namespace rknpu2 {
namespace {

using std::string_view;

// Exceptions to the rule that a 2-D `*.weight` is multiplied. Names are matched against the name without
// "blk.N." and ".weight"; a leading or trailing '*' matches any text. The first name that matches decides.
struct NameRule {
    TensorRole role;
    std::vector<string_view> names;
};

const NameRule kRules[] = {
    // Multiplied although it may have one dimension: a single output column.
    {TensorRole::kMatrix, {"ffn_gate_inp_shexp"}},
    // The head of a language model; not the attention's "attn_output".
    {TensorRole::kOutput, {"output"}},
    // GGML_OP_GET_ROWS: rows are picked by token, position or distance. Some are loaded and never used.
    {TensorRole::kLookup,
     {"token_embd", "position_embd", "*.position_embd", "token_types", "per_layer_token_embd",
      "nextn.embed_tokens", "attn_rel_b", "cross_attn_rel_b", "attn_compressor_ape", "indexer_compressor_ape",
      "ffn_gate_tid2eid", "d2t", "markov_w1", "selector_predecessor", "selector_successor", "masked_embd_*"}},
    // Norms may have two dimensions (one row for each head). Before the experts, who would take one of them.
    {TensorRole::kNorm,
     {"ffn_norm_exps", "*norm", "*norm_1", "*norm_2", "*.norm1", "*.norm2", "ple_norm_*", "time_mix_ln"}},
    // Mixture of experts: GGML_OP_MUL_MAT_ID.
    {TensorRole::kExperts, {"*_exps", "*_chexps"}},
    // Convolutions: SSM_CONV, IM2COL or products element by element.
    {TensorRole::kConvolution,
     {"*conv1d", "ssm_conv1d_*", "shortconv.conv", "attn_conv_base", "ffn_conv_base", "convnext.*.dw",
      "posnet.*.conv1", "posnet.*.conv2", "*patch_embd"}},
    // Element by element, or inside a recurrence.
    {TensorRole::kOther,
     {"rope_*",         "attn_rot_embd",  "*attn_sinks",  "*_res_score",     "*_scale",
      "*.gamma",        "ffn.act",        "exp_probs_b*", "hc_*_base",       "output_hc_base",
      "hrm.*",          "ssm_a",          "ssm_d",        "time_mix_lerp_*", "channel_mix_lerp_*",
      "time_mix_first", "time_mix_decay", "time_mix_w0",  "time_mix_a0",     "time_mix_v0",
      "time_mix_k_k",   "time_mix_k_a",   "time_mix_r_k"}},
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

template <typename Names>
bool any_matches(const Names& names, string_view name) {
    return std::any_of(std::begin(names), std::end(names), [&](string_view n) { return matches(n, name); });
}

ModelKind kind_of(const GgufFile& file, string_view architecture) {
    if (file.text("general.type") == "adapter") return ModelKind::kAdapter;
    if (architecture == "clip") return ModelKind::kProjector;
    if (any_matches(kEncoderDecoders, architecture)) return ModelKind::kEncoderDecoder;
    return any_matches(kHeadless, architecture) ? ModelKind::kEncoder : ModelKind::kModel;
}

}  // namespace

const char* kind_name(ModelKind kind) {
    constexpr const char* kNames[] = {"model", "encoder", "encoder-decoder", "adapter", "projector"};
    return kNames[static_cast<size_t>(kind)];
}

const char* role_name(TensorRole role) {
    constexpr const char* kNames[] = {"matrix", "output", "embedding+output", "experts", "embedding",
                                      "norm",   "bias",   "convolution",      "other"};
    return kNames[static_cast<size_t>(role)];
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
        if (!any_matches(rule.names, parts.stem)) continue;
        // Without ".weight" it is a vector that belongs to the matrix of that name.
        return is_weight_matrix(rule.role) && !parts.is_weight ? TensorRole::kOther : rule.role;
    }
    const bool matrix = parts.is_weight && (tensor.dimensions >= 2 || parts.is_lora);
    return matrix ? TensorRole::kMatrix : TensorRole::kOther;
}

bool wants_float_activations(const GgufTensor& tensor, const ModelTraits& traits) {
    const NameParts parts = take_apart(tensor.name);
    return traits.architecture == "mistral4" && !parts.is_lora && parts.stem == "ffn_down_exps";
}

bool is_offloaded(const GgufTensor& tensor, TensorRole role, const ModelTraits& traits, int64_t ngl) {
    if (role == TensorRole::kLookup) return false;
    if (traits.all_on_device) return true;
    const NameParts parts = take_apart(tensor.name);
    const bool output =
        role == TensorRole::kTiedEmbedding || (!parts.layer && any_matches(kOutputUnit, parts.stem));
    const uint64_t unit = output ? traits.layers : parts.layer.value_or(0);
    const uint64_t units = traits.layers + 1;
    const uint64_t moved = ngl < 0 ? units : std::min(units, static_cast<uint64_t>(ngl));
    return unit >= units - moved && moved > 0;
}

}  // namespace rknpu2
