// SPDX-License-Identifier: MIT
// Into which pieces attention is cut, and what their work areas take.
#include "plan/attention_sizes.hpp"

#include <gtest/gtest.h>

#include "matrix/layout.hpp"
#include "plan/weight_plan.hpp"

namespace rknpu2 {
namespace {

TEST(AttentionSizes, PiecesAreFewAndAlike) {
    for (size_t rows = 1; rows <= 10000; ++rows) {
        const AttentionPieces pieces(1, rows);
        ASSERT_EQ(pieces.count, ceil_div(rows, kMaxRows));
        size_t sum = 0, computed = 0;
        for (size_t piece = 0; piece < pieces.count; ++piece) {
            ASSERT_EQ(pieces.first(piece), sum) << rows;
            ASSERT_LE(pieces.rows(piece), pieces.longest) << rows;
            sum += pieces.rows(piece);
            computed += bucket_rows(pieces.rows(piece));
        }
        ASSERT_EQ(sum, rows);
        ASSERT_LE(pieces.longest, kMaxRows);
        if (rows > 32) {
            ASSERT_LE(computed, round_up(rows, 32));
        }
    }
    EXPECT_EQ(AttentionPieces(128, 3).longest, 192U);  // SmolLM2
    EXPECT_EQ(AttentionPieces(112, 4).longest, 256U);  // Gemma-3-1B
}

// Chunks of all lengths have the areas of the longest one.
TEST(AttentionSizes, ChunksHaveAreasOfOneSize) {
    for (size_t group = 1; group <= 71; ++group) {
        const AttentionPieces most(kMostChunkTokens, group);
        for (size_t tokens = kFewestTokens; tokens <= kMostChunkTokens; ++tokens) {
            const AttentionPieces pieces(tokens, group);
            ASSERT_EQ(pieces.room, most.room) << tokens << " tokens of " << group;
            ASSERT_LE(pieces.longest, pieces.room);
            ASSERT_LE(pieces.count, most.count);
            ASSERT_EQ(pieces.first(pieces.count - 1) + pieces.rows(pieces.count - 1), tokens * group);
        }
    }
}

struct Shape {
    size_t heads, kv_heads, width;
};

// The most that a prompt of any length takes: 96 MiB, 192 where query heads share no heads of keys.
TEST(AttentionSizes, MemoryOfLongPrompts) {
    for (const Shape& shape :
         {Shape{9, 3, 64}, {15, 5, 64},   {14, 2, 64},   {16, 2, 64},   {32, 4, 64},   {32, 8, 64},
          {24, 8, 64},     {71, 1, 64},   {128, 8, 64},  {32, 8, 80},   {32, 8, 96},   {12, 2, 128},
          {16, 2, 128},    {32, 2, 128},  {16, 4, 128},  {20, 4, 128},  {28, 4, 128},  {36, 4, 128},
          {52, 4, 128},    {64, 4, 128},  {16, 8, 128},  {24, 8, 128},  {32, 8, 128},  {40, 8, 128},
          {48, 8, 128},    {64, 8, 128},  {96, 8, 128},  {40, 10, 128}, {32, 16, 128}, {48, 1, 128},
          {4, 1, 256},     {8, 1, 256},   {10, 1, 256},  {6, 2, 256},   {8, 4, 256},   {24, 4, 256},
          {16, 8, 256},    {16, 16, 256}, {8, 8, 64},    {12, 12, 64},  {16, 16, 64},  {32, 32, 64},
          {32, 32, 80},    {32, 32, 96},  {20, 20, 128}, {24, 24, 128}, {32, 32, 128}, {40, 40, 128}}) {
        const AttentionSizes sizes(shape.kv_heads, shape.width, shape.width);
        const uint64_t most = shape.kv_heads < shape.heads ? 96 : 192;
        for (const size_t tokens : {16, 80, 112, 128})
            for (const size_t positions : {512, 1024, 4096, 16384, 131072})
                EXPECT_LE(sizes.of_prompt(shape.heads / shape.kv_heads, tokens, positions, 3), most << 20)
                    << shape.heads << ", " << shape.kv_heads << " heads of " << shape.width << ", " << tokens
                    << " tokens, " << positions << " positions";
    }
}

}  // namespace
}  // namespace rknpu2
