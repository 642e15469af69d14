// SPDX-License-Identifier: MIT
// What a GGUF file says about itself: scalar metadata, and name, type, shape and place of every tensor.
//
// The reader trusts nothing: every count, length, dimension and offset is checked against the size of the
// file before it is used, so a truncated or hostile file gives one line and never a crash or an allocation out
// of proportion. It steps over arrays (vocabularies) and long strings (chat templates). Tensor data is never
// read; it must only be there. It accepts what ggml accepts, versions 2 and 3 in little endian, and refuses
// what ggml refuses.
//
// Source of the format: ggml/include/gguf.h and ggml/src/gguf.cpp of ggml 0.25.3.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "gguf/byte_reader.hpp"
#include "gguf/tensor_types.hpp"

namespace rknpu2 {

inline constexpr size_t kGgufDimensions = 4;

struct GgufTensor {
    std::string name;
    const GgmlType* type = nullptr;
    uint32_t dimensions = 0;                               // as written, 0 .. 4
    std::array<uint64_t, kGgufDimensions> ne{1, 1, 1, 1};  // ne[0] is the row length
    uint64_t offset = 0;                                   // from the start of the data section
    uint64_t bytes = 0;
};

struct GgufFile {
    using Value = std::variant<uint64_t, int64_t, double, bool, std::string>;

    uint32_t version = 0;
    uint64_t alignment = 32;
    uint64_t data_offset = 0;               // where the data section starts
    std::map<std::string, Value> metadata;  // scalars and short strings only
    std::vector<GgufTensor> tensors;

    // The file's own order of things; `path` must be a regular file. The path is put in front of a failure.
    static Result<GgufFile> open(const std::string& path);
    static Result<GgufFile> parse(ByteReader reader);

    const GgufTensor* find(const std::string& name) const;

    // The value of a key, or `missing` when there is none of that kind.
    std::string text(const std::string& key, const std::string& missing = "") const;
    uint64_t number(const std::string& key, uint64_t missing = 0) const;
    bool flag(const std::string& key, bool missing) const;

  private:
    template <typename T>
    const T* value_of(const std::string& key) const;
};

}  // namespace rknpu2
