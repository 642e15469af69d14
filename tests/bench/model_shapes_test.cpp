// SPDX-License-Identifier: MIT
// Files of model shapes: what is in them, and what is refused and how.
#include "predict/model_shapes.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

namespace rknpu2 {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr const char* kHeader =
    "name,layers,hidden_size,heads,kv_heads,head_dim,ffn_size,vocabulary,tied_embeddings,norms_per_layer,"
    "window,full_every,parameters,source\n";
constexpr const char* kSmall = "Small,2,64,4,2,32,96,1000,1,2,,,150016,a test\n";

std::string error_of(const std::string& rows) {
    const auto models = parse_model_shapes(kHeader + rows, "small.csv");
    EXPECT_FALSE(models.ok()) << rows;
    return models.status().message();
}

TEST(ModelShapes, AreRead) {
    // Q 128x64, K and V 64x64, output 64x128, FFN 3 x 96x64.
    const auto models = parse_model_shapes(std::string(kHeader) + kSmall, "small.csv");
    ASSERT_TRUE(models.ok()) << models.status().message();
    ASSERT_EQ(models.value().size(), 1);
    const ModelShape& model = models.value()[0];
    EXPECT_EQ(model.source, "a test");
    EXPECT_EQ(model.q_size(), 128);
    EXPECT_EQ(model.kv_size(), 64);
    EXPECT_EQ(model.layer_weights(), 128 * 64 + 2 * 64 * 64 + 64 * 128 + 3 * 96 * 64);
    EXPECT_EQ(model.token_weights(), 2 * 43008 + 64000);
    const std::vector<WeightShape> down = weights_of(model, Group::kDown);
    ASSERT_EQ(down.size(), 1);
    EXPECT_EQ(down[0].N, 64);
    EXPECT_EQ(down[0].K, 96);
    EXPECT_EQ(weights_of(model, Group::kAttentionOutput)[0].K, 128);
}

TEST(ModelShapes, ErrorsNameFileLineAndCause) {
    EXPECT_EQ(parse_model_shapes("name\nSmall\n", "small.csv").status().message(),
              "small.csv: there is no column layers");
    EXPECT_EQ(error_of("Small,2\n"), "small.csv:2: 2 cells, but the header has 14");
    for (const std::string wrong : {"two", "0", "nan", ""}) {
        EXPECT_EQ(error_of(kSmall + ("Small," + wrong + ",64,4,2,32,96,1000,1,2,,,150016,\n")),
                  "small.csv:3: \"" + wrong + "\" in column layers is no number from 1 to 1000");
    }
    EXPECT_EQ(error_of("Small,2.5,64,4,2,32,96,1000,1,2,,,150016,\n"),
              "small.csv:2: layers is 2.5, but must be an integer");
    EXPECT_EQ(error_of("Small,2,64,4,3,32,96,1000,1,2,,,150016,\n"),
              "small.csv: heads is 4, not a multiple of kv_heads, 3");
}

TEST(ModelShapes, SizesThatDoNotComeToTheParametersAreRefused) {
    EXPECT_THAT(error_of("Small,2,64,4,2,32,69,1000,1,2,,,150016,\n"),
                AllOf(HasSubstr("the sizes come to"), HasSubstr("parameters is 150016")));
}

TEST(ModelShapes, CompiledInOnesAreFoundByName) {
    for (const std::string& name : default_models()) {
        const Result<ModelShape> model = find_model_shape(name);
        ASSERT_TRUE(model.ok()) << model.status().message();
        EXPECT_EQ(model.value().name, name);
        EXPECT_THAT(model.value().source, HasSubstr("config.json"));
    }
    EXPECT_EQ(find_model_shape("llama-2-7b").value().name, "Llama-2-7B");
    EXPECT_EQ(find_model_shape("Llama-2-7B").value().token_weights(), 6607077376);  // without the embeddings
}

TEST(ModelShapes, OneOfSoManyLayersSeesAll) {
    const ModelShape gemma = find_model_shape("Gemma-3-1B").value();
    EXPECT_EQ(gemma.window_of(4), 512);
    EXPECT_EQ(gemma.window_of(5), 0);
    EXPECT_EQ(gemma.window_of(25), 512);
    EXPECT_EQ(find_model_shape("Llama-2-7B").value().window_of(0), 0);
}

TEST(ModelShapes, AFileHasOneModel) {
    const std::string path = testing::TempDir() + "models.csv";
    const auto found = [&](const std::string& rows) {
        std::ofstream(path) << kHeader << rows;
        return find_model_shape(path);
    };
    EXPECT_EQ(found(kSmall).value().name, "Small");
    EXPECT_EQ(found(std::string(kSmall) + kSmall).status().message(),
              path + ": a file for --model has one model");
}

TEST(ModelShapes, AnUnknownNameListsTheKnown) {
    const Result<ModelShape> model = find_model_shape("Llama-9");
    ASSERT_FALSE(model.ok());
    EXPECT_THAT(model.status().message(), AllOf(HasSubstr("\"Llama-9\""), HasSubstr("Qwen2.5-1.5B"),
                                                HasSubstr("No such file or directory")));
}

}  // namespace
}  // namespace rknpu2
