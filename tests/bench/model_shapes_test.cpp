// SPDX-License-Identifier: MIT
// Files of model shapes: what is in them, and what is refused and how.
#include "predict/model_shapes.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace rknpu2 {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr const char* kSmall = R"(# a comment
name = Small
source = a test   # not a real one
layers = 2
hidden_size = 64
heads = 4
kv_heads = 2
head_dim = 32
ffn_size = 96
vocabulary = 1000
tied_embeddings = 1
norms_per_layer = 2
parameters = 150016
)";

std::string with(const std::string& line, const std::string& replacement) {
    std::string text = kSmall;
    const size_t at = text.find(line);
    EXPECT_NE(at, std::string::npos) << line;
    return text.replace(at, line.size(), replacement);
}

std::string error_of(const std::string& text) {
    const Result<ModelShape> model = parse_model_shape(text, "small.txt");
    EXPECT_FALSE(model.ok());
    return model.status().message();
}

TEST(ModelShapes, AreRead) {
    // Q 128x64, K and V 64x64, output 64x128, FFN 3 x 96x64.
    const Result<ModelShape> model = parse_model_shape(kSmall, "small.txt");
    ASSERT_TRUE(model.ok()) << model.status().message();
    EXPECT_EQ(model.value().source, "a test");
    EXPECT_EQ(model.value().q_size(), 128);
    EXPECT_EQ(model.value().kv_size(), 64);
    EXPECT_EQ(model.value().layer_weights(), 128 * 64 + 2 * 64 * 64 + 64 * 128 + 3 * 96 * 64);
    EXPECT_EQ(model.value().token_weights(), 2 * 43008 + 64000);
    const std::vector<WeightShape> down = weights_of(model.value(), Group::kDown);
    ASSERT_EQ(down.size(), 1);
    EXPECT_EQ(down[0].N, 64);
    EXPECT_EQ(down[0].K, 96);
    EXPECT_EQ(weights_of(model.value(), Group::kAttentionOutput)[0].K, 128);
}

TEST(ModelShapes, ErrorsNameFileLineAndCause) {
    EXPECT_EQ(error_of(with("layers = 2\n", "")), "small.txt: layers is missing");
    EXPECT_EQ(error_of(with("layers = 2", "layers 2")), "small.txt:4: expected \"name = value\"");
    EXPECT_EQ(error_of(with("layers = 2", "layers =")), "small.txt:4: expected \"name = value\"");
    EXPECT_EQ(error_of(with("heads = 4", "layers = 4")), "small.txt:6: layers is given twice");
    EXPECT_EQ(error_of(with("layers = 2", "layers = two")),
              "small.txt:4: layers is \"two\", but must be a number from 1 to 1000");
    EXPECT_EQ(error_of(with("layers = 2", "layers = 0")),
              "small.txt:4: layers is \"0\", but must be a number from 1 to 1000");
    EXPECT_EQ(error_of(with("layers = 2", "layers = 2.5")),
              "small.txt:4: layers is 2.5, but must be an integer");
    EXPECT_EQ(error_of(with("layers = 2", "layers = nan")),
              "small.txt:4: layers is \"nan\", but must be a number from 1 to 1000");
    EXPECT_EQ(error_of(std::string(kSmall) + "experts = 8\n"),
              "small.txt:14: \"experts\" is not a name that belongs here");
    EXPECT_EQ(error_of(with("kv_heads = 2", "kv_heads = 3")),
              "small.txt: heads is 4, not a multiple of kv_heads, 3");
}

TEST(ModelShapes, SizesThatDoNotComeToTheParametersAreRefused) {
    EXPECT_THAT(error_of(with("ffn_size = 96", "ffn_size = 69")),
                AllOf(HasSubstr("the sizes come to"), HasSubstr("parameters is 150016")));
}

TEST(ModelShapes, CompiledInOnesAreFoundByNameAndByFile) {
    for (const std::string& name : default_models()) {
        const Result<ModelShape> model = find_model_shape(name);
        ASSERT_TRUE(model.ok()) << model.status().message();
        EXPECT_EQ(model.value().name, name);
        EXPECT_THAT(model.value().source, HasSubstr("config.json"));
    }
    EXPECT_EQ(find_model_shape("llama-2-7b").value().name, "Llama-2-7B");
    EXPECT_EQ(find_model_shape("Llama-2-7B").value().token_weights(), 6607077376);  // without the embeddings
}

TEST(ModelShapes, AnUnknownNameListsTheKnown) {
    const Result<ModelShape> model = find_model_shape("Llama-9");
    ASSERT_FALSE(model.ok());
    EXPECT_THAT(model.status().message(), AllOf(HasSubstr("\"Llama-9\""), HasSubstr("Qwen2.5-1.5B"),
                                                HasSubstr("No such file or directory")));
}

}  // namespace
}  // namespace rknpu2
