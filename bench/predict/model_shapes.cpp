// SPDX-License-Identifier: MIT
#include "predict/model_shapes.hpp"

#include <algorithm>

#include "base/checked.hpp"
#include "base/format.hpp"
#include "predict/embedded.hpp"
#include "predict/key_values.hpp"

namespace rknpu2 {
namespace {

struct Field {
    const char* name;
    int64_t low, high;
    int64_t ModelShape::*member;
};

constexpr int64_t kMostElements = int64_t{1} << 24;
constexpr Field kFields[] = {
    {"layers", 1, 1000, &ModelShape::layers},
    {"hidden_size", 32, kMostElements, &ModelShape::hidden_size},
    {"heads", 1, 4096, &ModelShape::heads},
    {"kv_heads", 1, 4096, &ModelShape::kv_heads},
    {"head_dim", 1, 65536, &ModelShape::head_dim},
    {"ffn_size", 32, kMostElements, &ModelShape::ffn_size},
    {"vocabulary", 1, kMostElements, &ModelShape::vocabulary},
    {"norms_per_layer", 0, 16, &ModelShape::norms_per_layer},
    {"parameters", 1, int64_t{1} << 50, &ModelShape::parameters},
};

Status check_sizes(const ModelShape& model, const std::string& file) {
    if (model.heads % model.kv_heads != 0) {
        return {StatusCode::kInvalidArgument,
                format("%s: heads is %lld, not a multiple of kv_heads, %lld", file.c_str(),
                       static_cast<long long>(model.heads), static_cast<long long>(model.kv_heads))};
    }
    const int64_t tables = model.vocabulary * model.hidden_size * (model.tied_embeddings ? 1 : 2);
    // Each size is in its range, and yet all together can be too many for 64 bits.
    const size_t layers =
        saturating_mul(static_cast<size_t>(model.layers), static_cast<size_t>(model.layer_weights()));
    const size_t counted = saturating_add(layers, static_cast<size_t>(tables));
    const auto parameters = static_cast<size_t>(model.parameters);
    if (std::max(counted, parameters) - std::min(counted, parameters) > parameters / 100) {
        return {StatusCode::kInvalidArgument,
                format("%s: the sizes come to %zu parameters, but parameters is %zu: one of them is wrong",
                       file.c_str(), counted, parameters)};
    }
    return {};
}

}  // namespace

const char* group_name(Group group) {
    switch (group) {
        case Group::kQkv:
            return "QKV";
        case Group::kAttentionOutput:
            return "attention output";
        case Group::kGateUp:
            return "gate and up";
        case Group::kDown:
            return "down";
        case Group::kHead:
            return "output head";
    }
    return "";
}

std::vector<WeightShape> weights_of(const ModelShape& model, Group group) {
    const int64_t H = model.hidden_size;
    switch (group) {
        case Group::kQkv:
            return {{"Q", model.q_size(), H}, {"K", model.kv_size(), H}, {"V", model.kv_size(), H}};
        case Group::kAttentionOutput:
            return {{"attention output", H, model.q_size()}};
        case Group::kGateUp:
            return {{"gate", model.ffn_size, H}, {"up", model.ffn_size, H}};
        case Group::kDown:
            return {{"down", H, model.ffn_size}};
        case Group::kHead:
            return {{"output head", model.vocabulary, H}};
    }
    return {};
}

int64_t ModelShape::layer_weights() const {
    int64_t sum = 0;
    for (const Group group : kLayerGroups) {
        for (const WeightShape& weight : weights_of(*this, group))
            sum += weight.N * weight.K;
    }
    return sum;
}

int64_t ModelShape::token_weights() const {
    return layers * layer_weights() + vocabulary * hidden_size;
}

Result<ModelShape> parse_model_shape(const std::string& text, const std::string& file) {
    Result<KeyValues> parsed = KeyValues::parse(text, file);
    if (!parsed.ok()) return parsed.status();
    KeyValues& values = parsed.value();
    ModelShape model;
    for (auto [name, member] : {std::pair{"name", &model.name}, {"source", &model.source}}) {
        Result<std::string> value = values.take(name);
        if (!value.ok()) return value.status();
        *member = value.take();
    }
    for (const Field& field : kFields) {
        const Result<int64_t> value = values.take_integer(field.name, field.low, field.high);
        if (!value.ok()) return value.status();
        model.*field.member = value.value();
    }
    const Result<int64_t> tied = values.take_integer("tied_embeddings", 0, 1);
    if (!tied.ok()) return tied.status();
    model.tied_embeddings = tied.value() == 1;
    RKNPU2_RETURN_IF_ERROR(values.check_all_taken());
    RKNPU2_RETURN_IF_ERROR(check_sizes(model, file));
    return model;
}

Result<ModelShape> find_model_shape(const std::string& name_or_path) {
    for (const EmbeddedFile& file : embedded_shapes()) {
        Result<ModelShape> model = parse_model_shape(file.text, file.name);
        if (!model.ok()) return model;
        if (name_or_path == model.value().name || name_or_path + ".txt" == file.name) return model;
    }
    const Result<std::string> text = read_text_file(name_or_path);
    if (text.ok()) return parse_model_shape(text.value(), name_or_path);
    std::string names;
    for (const std::string& name : default_models())
        names += (names.empty() ? "" : ", ") + name;
    return Status(text.status().code(), "no model is called \"" + name_or_path + "\" (there are " + names +
                                            "), and as a file: " + text.status().message());
}

std::vector<std::string> default_models() {
    return {"SmolLM2-135M", "TinyLlama-1.1B", "Gemma-3-1B", "Qwen2.5-1.5B", "Llama-2-7B"};
}

}  // namespace rknpu2
