// SPDX-License-Identifier: MIT
// The GGUF reader on good files; bad ones are in gguf_malformed_test.cpp.
#include "gguf/gguf_file.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/format.hpp"
#include "gguf/gguf_writer.hpp"
#include "support/missing_path.hpp"

namespace rknpu2 {
namespace {

TEST(GgufFile, ReadsMetadataOfEveryScalarType) {
    const Result<GgufFile> result = parse_bytes(small_model().bytes());
    ASSERT_TRUE(result.ok()) << result.status().message();
    const GgufFile& file = result.value();
    EXPECT_EQ(file.version, 3U);
    EXPECT_EQ(file.text("general.architecture"), "llama");
    EXPECT_EQ(file.number("llama.block_count"), 2U);
    EXPECT_EQ(file.number("u8"), 7U);
    EXPECT_EQ(file.number("u16"), 8U);
    EXPECT_EQ(file.number("u64"), 11U);
    EXPECT_EQ(std::get<int64_t>(file.metadata.at("i8")), -3);
    EXPECT_EQ(std::get<int64_t>(file.metadata.at("i16")), -9);
    EXPECT_EQ(std::get<int64_t>(file.metadata.at("i32")), -10);
    EXPECT_EQ(std::get<int64_t>(file.metadata.at("i64")), -12);
    EXPECT_EQ(std::get<double>(file.metadata.at("f")), 1.5);
    EXPECT_EQ(std::get<double>(file.metadata.at("d")), 2.5);
    EXPECT_TRUE(std::get<bool>(file.metadata.at("yes")));
    EXPECT_EQ(file.metadata.count("tokenizer.ggml.tokens"), 0U) << "arrays are stepped over";
}

TEST(GgufFile, AsksForValuesOfTheWrongKindGiveTheDefault) {
    const Result<GgufFile> result = parse_bytes(small_model().bytes());
    ASSERT_TRUE(result.ok());
    EXPECT_EQ(result.value().number("general.name", 5), 5U);
    EXPECT_EQ(result.value().number("i8", 5), 5U) << "negative";
    EXPECT_EQ(result.value().number("nothing", 5), 5U);
    EXPECT_EQ(result.value().text("u8", "none"), "none");
}

TEST(GgufFile, ReadsTensors) {
    const Result<GgufFile> result = parse_bytes(small_model().bytes());
    ASSERT_TRUE(result.ok());
    const GgufFile& file = result.value();
    ASSERT_EQ(file.tensors.size(), 10U);
    const GgufTensor* const q = file.find("blk.1.attn_q.weight");
    ASSERT_NE(q, nullptr);
    EXPECT_STREQ(q->type->name, "q4_1");
    EXPECT_EQ(q->dimensions, 2U);
    EXPECT_THAT(q->ne, ::testing::ElementsAre(64, 64, 1, 1));
    EXPECT_EQ(q->bytes, 64U * 64 / 32 * 20);
    EXPECT_EQ(file.data_offset % 32, 0U);
    EXPECT_EQ(file.find("blk.2.attn_q.weight"), nullptr);
}

TEST(GgufFile, ReadsVersion2AndOtherAlignments) {
    GgufWriter old = small_model();
    old.version = 2;
    EXPECT_TRUE(parse_bytes(old.bytes()).ok());

    GgufWriter wide;
    wide.alignment = 256;
    wide.u32("general.alignment", 256).tensor("a.weight", 0, {3}).tensor("b.weight", 0, {3});
    const Result<GgufFile> result = parse_bytes(wide.bytes());
    ASSERT_TRUE(result.ok()) << result.status().message();
    EXPECT_EQ(result.value().tensors[1].offset, 256U);
}

TEST(GgufFile, StepsOverLongStringsAndAcrossItsWindow) {
    GgufWriter writer;
    writer.text("template", std::string(200'000, 't'));
    std::string strings;
    for (int i = 0; i < 20'000; ++i)
        strings += GgufWriter::string_bytes("token" + std::to_string(i));
    writer.array("tokens", 8, 20'000, strings);
    writer.array("types", 5, 50'000, std::string(200'000, '\1'));
    writer.text("last", "here").tensor("a.weight", 0, {4, 5});
    const Result<GgufFile> result = parse_bytes(writer.bytes());
    ASSERT_TRUE(result.ok()) << result.status().message();
    EXPECT_EQ(result.value().text("last"), "here");
    EXPECT_EQ(result.value().metadata.count("template"), 0U);
}

TEST(GgufFile, AcceptsEmptyTensorsAndNoTensors) {
    GgufWriter empty;
    EXPECT_TRUE(parse_bytes(empty.bytes()).ok());
    empty.tensor("scalar", 0, {}).tensor("none.weight", 0, {0, 7}).tensor("after.weight", 0, {2});
    const Result<GgufFile> result = parse_bytes(empty.bytes());
    ASSERT_TRUE(result.ok()) << result.status().message();
    EXPECT_EQ(result.value().tensors[0].bytes, 4U);
    EXPECT_EQ(result.value().tensors[1].bytes, 0U);
}

TEST(GgufFile, OpensRegularFilesOnly) {
    for (const std::string& path :
         {test::missing_path("model.gguf"), std::string("/dev"), std::string("/dev/null")}) {
        const Result<GgufFile> result = GgufFile::open(path);
        ASSERT_FALSE(result.ok()) << path;
        EXPECT_THAT(result.status().message(), ::testing::StartsWith(path));
    }
}

TEST(Printable, LeavesOneLine) {
    EXPECT_EQ(printable("a\nb\x1b[2Jc\x7f"), "a?b?[2Jc?");
    EXPECT_EQ(printable("größe"), "größe");
}

}  // namespace
}  // namespace rknpu2
