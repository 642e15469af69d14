// SPDX-License-Identifier: MIT
// Writes small GGUF files into memory, good ones and, on request, bad ones.
//
// It knows the format only from ggml/include/gguf.h and shares no code with the reader under test.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "gguf/gguf_file.hpp"

namespace rknpu2 {

class GgufWriter {
  public:
    // What a test may want to be wrong; the counts are added to the true ones.
    std::string magic = "GGUF";
    uint32_t version = 3;
    uint64_t extra_tensors = 0;
    uint64_t extra_pairs = 0;
    uint64_t alignment = 32;  // of the layout; the key is written by alignment_key()

    GgufWriter& text(const std::string& key, const std::string& value) {
        return pair(key, 8, string_bytes(value));
    }
    GgufWriter& u32(const std::string& key, uint32_t value) { return pair(key, 4, number_bytes(value)); }
    template <typename T>
    GgufWriter& scalar(const std::string& key, uint32_t type, T value) {
        return pair(key, type, number_bytes(value));
    }
    GgufWriter& array(const std::string& key, uint32_t type, uint64_t count, const std::string& elements) {
        return pair(key, 9, number_bytes(type) + number_bytes(count) + elements);
    }
    GgufWriter& pair(const std::string& key, uint32_t type, const std::string& value) {
        pairs_ += string_bytes(key) + number_bytes(type) + value;
        ++pair_count_;
        return *this;
    }

    // Offset and size follow from the type, which must be one of the table.
    GgufWriter& tensor(const std::string& name, uint32_t type, const std::vector<uint64_t>& shape) {
        const GgmlType* const row = find_ggml_type(type);
        uint64_t elements = 1;
        for (const uint64_t ne : shape)
            elements *= ne;
        const uint64_t bytes = elements / row->block * row->bytes;
        return raw_tensor(name, type, shape, data_bytes_, bytes);
    }
    GgufWriter& raw_tensor(const std::string& name, uint32_t type, const std::vector<uint64_t>& shape,
                           uint64_t offset, uint64_t bytes) {
        tensors_ += string_bytes(name) + number_bytes(static_cast<uint32_t>(shape.size()));
        for (const uint64_t ne : shape)
            tensors_ += number_bytes(ne);
        tensors_ += number_bytes(type) + number_bytes(offset);
        end_of_data_ = data_bytes_ + bytes;
        data_bytes_ = (end_of_data_ + alignment - 1) / alignment * alignment;
        ++tensor_count_;
        return *this;
    }

    // Without the padding after the last tensor, which a file need not have.
    std::string bytes() const {
        std::string out = magic + number_bytes(version) + number_bytes(tensor_count_ + extra_tensors) +
                          number_bytes(pair_count_ + extra_pairs) + pairs_ + tensors_;
        if (tensor_count_ > 0) out.resize((out.size() + alignment - 1) / alignment * alignment);
        out.resize(out.size() + end_of_data_, 'x');
        return out;
    }

    template <typename T>
    static std::string number_bytes(T value) {
        std::string out(sizeof(T), '\0');
        std::memcpy(out.data(), &value, sizeof(T));
        return out;
    }
    static std::string string_bytes(const std::string& text) {
        return number_bytes(uint64_t{text.size()}) + text;
    }

  private:
    std::string pairs_;
    std::string tensors_;
    uint64_t pair_count_ = 0;
    uint64_t tensor_count_ = 0;
    uint64_t data_bytes_ = 0;
    uint64_t end_of_data_ = 0;
};

// The bytes are copied into memory of exactly their size, so that a sanitizer sees one byte too many.
inline Result<GgufFile> parse_bytes(const std::string& bytes) {
    const std::vector<char> exact(bytes.begin(), bytes.end());
    const auto source = [&](uint64_t offset, void* out, size_t count) {
        if (offset > exact.size() || count > exact.size() - offset) return false;
        if (count > 0) std::memcpy(out, exact.data() + offset, count);
        return true;
    };
    return GgufFile::parse(ByteReader(source, exact.size()));
}

// A model of two layers of every sort of tensor, large enough to be interesting.
inline GgufWriter small_model() {
    GgufWriter writer;
    writer.text("general.architecture", "llama").text("general.name", "small").u32("llama.block_count", 2);
    writer.scalar("f", 6, 1.5F).scalar("d", 12, 2.5).scalar("yes", 7, uint8_t{1}).scalar("i8", 1, int8_t{-3});
    writer.scalar("u8", 0, uint8_t{7}).scalar("u16", 2, uint16_t{8}).scalar("i16", 3, int16_t{-9});
    writer.scalar("i32", 5, int32_t{-10}).scalar("u64", 10, uint64_t{11}).scalar("i64", 11, int64_t{-12});
    writer.array(
        "tokenizer.ggml.tokens", 8, 3,
        GgufWriter::string_bytes("a") + GgufWriter::string_bytes("") + GgufWriter::string_bytes("bcd"));
    writer.array("tokenizer.ggml.scores", 6, 2, GgufWriter::number_bytes(uint64_t{0}));
    writer.tensor("token_embd.weight", 8, {64, 96});
    for (int layer = 0; layer < 2; ++layer) {
        const std::string prefix = "blk." + std::to_string(layer) + ".";
        writer.tensor(prefix + "attn_norm.weight", 0, {64});
        writer.tensor(prefix + "attn_q.weight", 3, {64, 64});
        writer.tensor(prefix + "ffn_up.weight", 2, {64, 128});
        writer.tensor(prefix + "ffn_down.weight", 1, {128, 64});
    }
    writer.tensor("output_norm.weight", 0, {64});
    return writer;
}

}  // namespace rknpu2
