// SPDX-License-Identifier: MIT
#include "tensor_role.hpp"

#include <gtest/gtest.h>

#include "gguf/gguf_writer.hpp"

namespace rknpu2 {
namespace {

GgufTensor tensor(const std::string& name, uint32_t dimensions = 2) {
    GgufTensor t;
    t.name = name;
    t.type = find_ggml_type(0);
    t.dimensions = dimensions;
    for (uint32_t d = 0; d < dimensions; ++d)
        t.ne[d] = 64;
    return t;
}

ModelTraits traits(uint64_t layers = 30) {
    ModelTraits t;
    t.architecture = "llama";
    t.layers = layers;
    return t;
}

TEST(TensorRole, ByNameAndShape) {
    const struct {
        const char* name;
        uint32_t dimensions;
        TensorRole role;
    } cases[] = {
        {"blk.0.attn_q.weight", 2, TensorRole::kMatrix},
        {"blk.0.attn_qkv.weight", 2, TensorRole::kMatrix},
        {"blk.0.attn_output.weight", 2, TensorRole::kMatrix},
        {"blk.12.ffn_down.weight", 2, TensorRole::kMatrix},
        {"blk.0.ffn_gate_inp.weight", 2, TensorRole::kMatrix},
        {"blk.0.ffn_gate_inp_shexp.weight", 1, TensorRole::kMatrix},
        {"blk.0.ffn_up_shexp.weight", 2, TensorRole::kMatrix},
        {"blk.0.ssm_in.weight", 2, TensorRole::kMatrix},
        {"blk.0.ssm_dt.weight", 2, TensorRole::kMatrix},
        {"blk.0.time_mix_decay_w1.weight", 2, TensorRole::kMatrix},
        {"blk.0.shortconv.in_proj.weight", 2, TensorRole::kMatrix},
        {"blk.0.attn_k_b.weight", 3, TensorRole::kMatrix},
        {"blk.0.never_heard_of.weight", 2, TensorRole::kMatrix},
        {"dec.blk.0.cross_attn_q.weight", 2, TensorRole::kMatrix},
        {"per_layer_model_proj.weight", 2, TensorRole::kMatrix},
        {"cls.weight", 2, TensorRole::kMatrix},
        {"output.weight", 2, TensorRole::kOutput},
        {"token_embd.weight", 2, TensorRole::kLookup},
        {"position_embd.weight", 2, TensorRole::kLookup},
        {"token_types.weight", 2, TensorRole::kLookup},
        {"per_layer_token_embd.weight", 2, TensorRole::kLookup},
        {"enc.blk.0.attn_rel_b.weight", 2, TensorRole::kLookup},
        {"blk.0.ffn_up_exps.weight", 3, TensorRole::kExperts},
        {"blk.0.ffn_gate_up_exps.weight", 3, TensorRole::kExperts},
        {"blk.0.ffn_norm_exps.weight", 1, TensorRole::kNorm},
        {"blk.0.attn_norm.weight", 1, TensorRole::kNorm},
        {"blk.0.attn_norm_2.weight", 1, TensorRole::kNorm},
        {"blk.0.attn_q_norm.weight", 2, TensorRole::kNorm},
        {"blk.0.ssm_norm.weight", 2, TensorRole::kNorm},
        {"token_embd_norm.weight", 1, TensorRole::kNorm},
        {"output_norm.weight", 1, TensorRole::kNorm},
        {"blk.0.attn_q.bias", 1, TensorRole::kBias},
        {"blk.0.ffn_up_exps.bias", 2, TensorRole::kBias},
        {"output.bias", 1, TensorRole::kBias},
        {"blk.0.ssm_conv1d.weight", 2, TensorRole::kConvolution},
        {"blk.0.shortconv.conv.weight", 2, TensorRole::kConvolution},
        {"conv1d.weight", 3, TensorRole::kConvolution},
        {"convnext.3.dw.weight", 3, TensorRole::kConvolution},
        {"convnext.3.pw1.weight", 2, TensorRole::kMatrix},
        {"rope_freqs.weight", 1, TensorRole::kOther},
        {"blk.0.ssm_a", 2, TensorRole::kOther},
        {"blk.0.ssm_d", 1, TensorRole::kOther},
        {"blk.0.attn_q.scale", 1, TensorRole::kOther},
        {"blk.0.time_mix_first.weight", 2, TensorRole::kOther},
        {"blk.0.time_mix_r_k.weight", 2, TensorRole::kOther},
        {"blk.0.attn_sinks.weight", 1, TensorRole::kOther},
        {"blk.weird", 2, TensorRole::kOther},
        {"", 2, TensorRole::kOther},
    };
    for (const auto& c : cases)
        EXPECT_STREQ(role_name(role_of(tensor(c.name, c.dimensions), traits())), role_name(c.role)) << c.name;
}

TEST(TensorRole, HeadIsTiedOnlyWhereOneIsNeeded) {
    const auto role_in = [](GgufWriter writer) {
        writer.tensor("token_embd.weight", 0, {8, 8});
        const Result<GgufFile> file = parse_bytes(writer.bytes());
        return role_of(*file.value().find("token_embd.weight"), traits_of(file.value()));
    };
    GgufWriter llama;
    llama.text("general.architecture", "llama");
    EXPECT_EQ(role_in(llama), TensorRole::kTiedEmbedding);
    GgufWriter with_head = llama;
    EXPECT_EQ(role_in(with_head.tensor("output.weight", 0, {8, 8})), TensorRole::kLookup);
    GgufWriter part = llama;
    EXPECT_EQ(role_in(part.scalar("split.count", 2, uint16_t{3})), TensorRole::kLookup);
    GgufWriter encoder;
    EXPECT_EQ(role_in(encoder.text("general.architecture", "bert")), TensorRole::kLookup);
}

TEST(TensorRole, LayersAreCountedWhenTheFileDoesNotSay) {
    for (const uint64_t said : {uint64_t{0}, UINT64_MAX}) {
        GgufWriter writer;
        writer.text("general.architecture", "x").scalar("x.block_count", 10, said);
        writer.tensor("blk.0.a.weight", 0, {1}).tensor("blk.4.a.weight", 0, {1});
        writer.tensor("blk.18446744073709551615.a.weight", 0, {1}).tensor("blk.9x.a.weight", 0, {1});
        const Result<GgufFile> file = parse_bytes(writer.bytes());
        ASSERT_TRUE(file.ok()) << file.status().message();
        EXPECT_EQ(traits_of(file.value()).layers, 5U);
    }
}

// llama.cpp: unit u of 0 .. layers (the last is the output) is on the device if u >= layers + 1 - ngl.
TEST(Offload, LastUnitsFirst) {
    const auto on = [](const char* name, int64_t ngl) {
        const GgufTensor t = tensor(name);
        return is_offloaded(t, role_of(t, traits()), traits(), ngl);
    };
    EXPECT_FALSE(on("output.weight", 0));
    EXPECT_TRUE(on("output.weight", 1));
    EXPECT_FALSE(on("blk.29.attn_q.weight", 1));
    EXPECT_TRUE(on("blk.29.attn_q.weight", 2));
    EXPECT_FALSE(on("blk.20.attn_q.weight", 10));
    EXPECT_TRUE(on("blk.21.attn_q.weight", 10));
    EXPECT_FALSE(on("blk.0.attn_q.weight", 30));
    EXPECT_TRUE(on("blk.0.attn_q.weight", 31));
    EXPECT_TRUE(on("blk.0.attn_q.weight", 99));
    EXPECT_TRUE(on("blk.0.attn_q.weight", -1));
    EXPECT_TRUE(on("blk.0.attn_q.weight", INT64_MAX));
    EXPECT_TRUE(on("cls.weight", 1));
    EXPECT_FALSE(on("per_layer_model_proj.weight", 30)) << "created with the first layer";
    EXPECT_TRUE(on("per_layer_model_proj.weight", 31));
    EXPECT_FALSE(on("token_embd.weight", 99)) << "the input stays on the CPU";
}

TEST(Offload, ProjectorIgnoresNgl) {
    ModelTraits projector = traits(0);
    projector.all_on_device = true;
    EXPECT_TRUE(is_offloaded(tensor("v.blk.0.attn_q.weight"), TensorRole::kMatrix, projector, 0));
}

}  // namespace
}  // namespace rknpu2
