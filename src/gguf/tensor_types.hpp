// SPDX-License-Identifier: MIT
// The tensor types of a GGUF file, as data: what a type number is called and how many bytes it takes.
//
// Elements come in blocks of `block` along a row, `bytes` to a block. `to_float`: ggml can convert it to
// float, which is what our plug-in needs of a weight (float32 itself counts). rknpu2-info does not link ggml,
// so the table stands here; tests/gguf/tensor_types_test.cpp compares it with the ggml of the host.
//
// Source: enum ggml_type in ggml/include/ggml.h, type_traits in ggml/src/ggml.c, and the block structures in
// ggml/src/ggml-common.h, of ggml 0.25.3. The numbers that are missing below (4, 5, 31 to 33, 36 to 38) were
// removed from the format.
#pragma once

#include <cstdint>

namespace rknpu2 {

struct GgmlType {
    uint32_t id;
    const char* name;
    uint32_t block;  // elements
    uint32_t bytes;  // of one block
    bool to_float;
};

inline constexpr GgmlType kGgmlTypes[] = {
    {0, "f32", 1, 4, true},         {1, "f16", 1, 2, true},         {2, "q4_0", 32, 18, true},
    {3, "q4_1", 32, 20, true},      {6, "q5_0", 32, 22, true},      {7, "q5_1", 32, 24, true},
    {8, "q8_0", 32, 34, true},      {9, "q8_1", 32, 36, false},     {10, "q2_K", 256, 84, true},
    {11, "q3_K", 256, 110, true},   {12, "q4_K", 256, 144, true},   {13, "q5_K", 256, 176, true},
    {14, "q6_K", 256, 210, true},   {15, "q8_K", 256, 292, false},  {16, "iq2_xxs", 256, 66, true},
    {17, "iq2_xs", 256, 74, true},  {18, "iq3_xxs", 256, 98, true}, {19, "iq1_s", 256, 50, true},
    {20, "iq4_nl", 32, 18, true},   {21, "iq3_s", 256, 110, true},  {22, "iq2_s", 256, 82, true},
    {23, "iq4_xs", 256, 136, true}, {24, "i8", 1, 1, false},        {25, "i16", 1, 2, false},
    {26, "i32", 1, 4, false},       {27, "i64", 1, 8, false},       {28, "f64", 1, 8, false},
    {29, "iq1_m", 256, 56, true},   {30, "bf16", 1, 2, true},       {34, "tq1_0", 256, 54, true},
    {35, "tq2_0", 256, 66, true},   {39, "mxfp4", 32, 17, true},    {40, "nvfp4", 64, 36, true},
    {41, "q1_0", 128, 18, true},    {42, "q2_0", 64, 18, true},
};

// Null for a number that is not in the table.
constexpr const GgmlType* find_ggml_type(uint32_t id) {
    for (const GgmlType& type : kGgmlTypes)
        if (type.id == id) return &type;
    return nullptr;
}

}  // namespace rknpu2
