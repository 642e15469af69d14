// SPDX-License-Identifier: MIT
#include "predict/model_shapes.hpp"

#include <strings.h>

#include <algorithm>

#include "base/checked.hpp"
#include "base/format.hpp"
#include "predict/csv.hpp"
#include "system/file.hpp"

namespace rknpu2 {
namespace {

struct Field {
    const char* name;
    double low, high;
    int64_t ModelShape::*member;
};

constexpr double kMostElements = 1 << 24;
constexpr Field kFields[] = {
    {"layers", 1, 1000, &ModelShape::layers},
    {"hidden_size", 32, kMostElements, &ModelShape::hidden_size},
    {"heads", 1, 4096, &ModelShape::heads},
    {"kv_heads", 1, 4096, &ModelShape::kv_heads},
    {"head_dim", 1, 65536, &ModelShape::head_dim},
    {"ffn_size", 32, kMostElements, &ModelShape::ffn_size},
    {"vocabulary", 1, kMostElements, &ModelShape::vocabulary},
    {"tied_embeddings", 0, 1, &ModelShape::tied_embeddings},
    {"norms_per_layer", 0, 16, &ModelShape::norms_per_layer},
    {"window", 0, kMostElements, &ModelShape::window},
    {"full_every", 0, 1000, &ModelShape::full_every},
    {"parameters", 1, 1e15, &ModelShape::parameters},
};

Status check_sizes(const ModelShape& model, const std::string& file) {
    if (model.heads % model.kv_heads != 0) {
        return {StatusCode::kInvalidArgument,
                format("%s: heads is %lld, not a multiple of kv_heads, %lld", file.c_str(),
                       static_cast<long long>(model.heads), static_cast<long long>(model.kv_heads))};
    }
    const int64_t tables = model.vocabulary * model.hidden_size * (2 - model.tied_embeddings);
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
    constexpr const char* kNames[] = {"QKV", "attention output", "gate and up", "down", "output head"};
    return kNames[static_cast<size_t>(group)];
}

std::vector<WeightShape> weights_of(const ModelShape& model, Group group) {
    const int64_t H = model.hidden_size;
    switch (group) {
        case Group::kQkv:
            return {{model.q_size(), H}, {model.kv_size(), H}, {model.kv_size(), H}};
        case Group::kAttentionOutput:
            return {{H, model.q_size()}};
        case Group::kGateUp:
            return {{model.ffn_size, H}, {model.ffn_size, H}};
        case Group::kDown:
            return {{H, model.ffn_size}};
        case Group::kHead:
            return {{model.vocabulary, H}};
    }
    return {};
}

int64_t ModelShape::layer_weights() const {
    int64_t sum = 0;
    for (const Group group : kLayerGroups)
        for (const WeightShape& weight : weights_of(*this, group))
            sum += weight.N * weight.K;
    return sum;
}

int64_t ModelShape::token_weights() const {
    return layers * layer_weights() + vocabulary * hidden_size;
}

Result<std::vector<ModelShape>> parse_model_shapes(const std::string& text, const std::string& file) {
    CsvTable table(text, file);
    std::vector<ModelShape> models(table.rows());
    for (size_t row = 0; row < models.size(); ++row) {
        ModelShape& model = models[row];
        model.name = table.text(row, "name");
        model.source = table.text(row, "source");
        for (const Field& field : kFields)
            model.*field.member = table.integer(row, field.name, field.low, field.high);
        RKNPU2_RETURN_IF_ERROR(table.status());
        RKNPU2_RETURN_IF_ERROR(check_sizes(model, file));
    }
    RKNPU2_RETURN_IF_ERROR(table.status());
    return models;
}

Result<ModelShape> find_model_shape(const std::string& name_or_path) {
    for (const ModelShape& model : RKNPU2_TAKE(parse_model_shapes(embedded_models(), "models.csv")))
        if (strcasecmp(name_or_path.c_str(), model.name.c_str()) == 0) return model;
    constexpr uint64_t kMostBytes = 16 << 20;
    const Result<std::string> text = read_regular_file(name_or_path, kMostBytes);
    if (!text.ok()) {
        return Status(text.status().code(), "no model is called \"" + name_or_path + "\" (there are " +
                                                joined(default_models()) +
                                                "), and as a file: " + text.status().message());
    }
    const std::vector<ModelShape> own = RKNPU2_TAKE(parse_model_shapes(text.value(), name_or_path));
    if (own.size() == 1) return own.front();
    return Status(StatusCode::kInvalidArgument, name_or_path + ": a file for --model has one model");
}

std::vector<std::string> default_models() {
    return {"SmolLM2-135M", "TinyLlama-1.1B", "Gemma-3-1B", "Qwen2.5-1.5B", "Llama-2-7B"};
}

}  // namespace rknpu2
