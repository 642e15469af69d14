// SPDX-License-Identifier: MIT
#include "ggml/host/operations.hpp"

#include <dlfcn.h>

#include <algorithm>
#include <string_view>

namespace rknpu2 {
namespace {

constexpr std::array<const char*, kOps> kNames = {"",
                                                  "NONE",
                                                  "ADD",
                                                  "CLAMP",
                                                  "CUSTOM",
                                                  "DIV",
                                                  "FLASH_ATTN_EXT",
                                                  "GLU",
                                                  "L2_NORM",
                                                  "MAP_CUSTOM1",
                                                  "MAP_CUSTOM2",
                                                  "MAP_CUSTOM3",
                                                  "MUL",
                                                  "MUL_MAT",
                                                  "MUL_MAT_ID",
                                                  "NORM",
                                                  "OPT_STEP_ADAMW",
                                                  "OPT_STEP_SGD",
                                                  "PERMUTE",
                                                  "RESHAPE",
                                                  "RMS_NORM",
                                                  "ROPE",
                                                  "SCALE",
                                                  "SET_ROWS",
                                                  "SQR",
                                                  "SQRT",
                                                  "SUB",
                                                  "TRANSPOSE",
                                                  "UNARY",
                                                  "VIEW"};

// The table of names has no length that a plug-in could ask for. It ends where another one begins: what is behind
// it is no string, or not the name of an operation (that of the symbols begins with "none").
bool is_operation_name(const char* text) {
    if (!is_in_a_library(text) || *text == '\0') return false;
    return std::all_of(text, text + std::char_traits<char>::length(text),
                       [](char c) { return (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_'; });
}

}  // namespace

bool is_in_a_library(const void* pointer) {
    Dl_info info{};
    return dladdr(pointer, &info) != 0;
}

const char* ggml_name_of(Op op) {
    return kNames[static_cast<size_t>(op)];
}

// It stops at the last one that is missing, before it comes to the end of a table that has all.
std::string Operations::read(const char* (*name_of)(ggml_op)) {
    std::array<bool, kOps> found{};
    size_t missing = kOps - 1;
    for (uint32_t number = 0; number < kNumbers && missing > 0; ++number) {
        const char* const name = name_of(static_cast<ggml_op>(number));
        if (!is_operation_name(name)) break;
        const auto known = std::find(kNames.begin() + 1, kNames.end(), std::string_view(name));
        if (known == kNames.end()) continue;
        const auto op = static_cast<size_t>(known - kNames.begin());
        if (found[op]) break;
        found[op] = true;
        --missing;
        ops_[number] = static_cast<Op>(op);
        numbers_[op] = number;
    }
    const auto first = std::find(found.begin() + 1, found.end(), false);
    return first == found.end() ? "" : kNames[static_cast<size_t>(first - found.begin())];
}

}  // namespace rknpu2
