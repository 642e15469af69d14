// SPDX-License-Identifier: MIT
// GGUF files: what is accepted lies inside the file, tensor behind tensor, and its sizes are what its shape
// says, computed with more bits.
#include <algorithm>
#include <cmath>

#include "base/format.hpp"
#include "fuzz/check.hpp"
#include "gguf/gguf_file.hpp"

using namespace rknpu2;  // NOLINT: this is its program

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    const auto source = [&](uint64_t offset, void* out, size_t bytes) {
        FUZZ_CHECK(offset <= size && bytes <= size - offset);
        std::copy_n(data + offset, bytes, static_cast<uint8_t*>(out));
        return true;
    };
    const Result<GgufFile> parsed = GgufFile::parse(ByteReader(source, size));
    if (!parsed.ok()) {
        FUZZ_CHECK(fuzz::is_one_line(parsed.status().message()));
        return 0;
    }
    const GgufFile& file = parsed.value();
    FUZZ_CHECK(file.alignment > 0 && (file.alignment & (file.alignment - 1)) == 0);
    uint64_t end = 0;
    for (const GgufTensor& tensor : file.tensors) {
        FUZZ_CHECK(tensor.type != nullptr && file.find(tensor.name) == &tensor);
        long double bytes = static_cast<long double>(tensor.type->bytes) / tensor.type->block;
        for (const uint64_t ne : tensor.ne)
            bytes *= static_cast<long double>(ne);
        FUZZ_CHECK(std::abs(bytes - static_cast<long double>(tensor.bytes)) < 1);
        FUZZ_CHECK(tensor.ne[0] % tensor.type->block == 0);
        FUZZ_CHECK(tensor.offset % file.alignment == 0 && tensor.offset >= end);
        FUZZ_CHECK(file.data_offset <= size && tensor.offset <= size - file.data_offset);
        FUZZ_CHECK(tensor.bytes <= size - file.data_offset - tensor.offset);
        end = tensor.offset + tensor.bytes;
    }
    for (const auto& [key, value] : file.metadata) {
        FUZZ_CHECK(!key.empty() && key.size() <= size);
        if (const auto* const text = std::get_if<std::string>(&value))
            FUZZ_CHECK(file.text(key, "?") == *text);
    }
    return 0;
}
