// SPDX-License-Identifier: MIT
#include "gguf/gguf_file.hpp"

#include <algorithm>
#include <bit>
#include <cinttypes>
#include <cstring>
#include <iterator>
#include <set>

#include "base/checked.hpp"
#include "base/format.hpp"
#include "system/file.hpp"

namespace rknpu2 {
namespace {

// Those type numbers of metadata values (enum gguf_type) that need care.
constexpr uint32_t kUint32 = 4;
constexpr uint32_t kString = 8;
constexpr uint32_t kArray = 9;

// The least that one entry takes in a file; a count that needs more than the rest of the file is refused.
constexpr uint64_t kLeastPair = 8 + 1 + 4 + 1;          // key length, key, type, value
constexpr uint64_t kLeastTensor = 8 + 4 + 4 + 8;        // name length, dimensions, type, offset
constexpr uint64_t kMaxKey = 65535;                     // the format's own limit
constexpr uint64_t kMaxName = 63;                       // GGML_MAX_NAME less its zero
constexpr uint64_t kMaxKeptString = 4096;               // longer values are stepped over
constexpr uint64_t kMaxLength = uint64_t{1} << 30;      // ggml's limit for strings and arrays
constexpr uint64_t kMaxElements = uint64_t{INT64_MAX};  // ggml's limit for a tensor

Status malformed(std::string what) {
    return {StatusCode::kInvalidArgument, "malformed: " + std::move(what)};
}

// Bytes of one value, by its type; 0 for strings and arrays.
constexpr std::array<uint64_t, 13> kValueBytes = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

class Parser {
  public:
    explicit Parser(ByteReader reader) : reader_(std::move(reader)) {}

    Result<GgufFile> run() {
        RKNPU2_RETURN_IF_ERROR(read_header());
        RKNPU2_RETURN_IF_ERROR(read_metadata());
        RKNPU2_RETURN_IF_ERROR(read_tensors());
        RKNPU2_RETURN_IF_ERROR(check_data());
        return std::move(file_);
    }

  private:
    Status read_header() {
        char magic[4];
        RKNPU2_RETURN_IF_ERROR(reader_.read(magic, sizeof(magic), "the magic number"));
        if (std::memcmp(magic, "GGUF", 4) != 0)
            return {StatusCode::kInvalidArgument, "not a GGUF file: it does not begin with \"GGUF\""};
        RKNPU2_RETURN_IF_ERROR(reader_.read_number(file_.version, "the version"));
        if (file_.version != 0 && (file_.version & 0xffff) == 0)
            return {StatusCode::kUnsupported, "a big-endian GGUF file; only little-endian ones can be used"};
        if (file_.version != 2 && file_.version != 3) {
            return {StatusCode::kUnsupported,
                    format("GGUF version %" PRIu32 "; only 2 and 3 can be read", file_.version)};
        }
        RKNPU2_RETURN_IF_ERROR(reader_.read_number(tensor_count_, "the number of tensors"));
        RKNPU2_RETURN_IF_ERROR(reader_.read_number(pair_count_, "the number of metadata entries"));
        if (pair_count_ > reader_.remaining() / kLeastPair)
            return malformed(format("%" PRIu64 " metadata entries do not fit in the file", pair_count_));
        if (tensor_count_ > reader_.remaining() / kLeastTensor)
            return malformed(format("%" PRIu64 " tensors do not fit in the file", tensor_count_));
        return {};
    }

    Status read_length(uint64_t& length, uint64_t most, const char* what) {
        RKNPU2_RETURN_IF_ERROR(reader_.read_number(length, what));
        if (length <= most && length <= reader_.remaining()) return {};
        return malformed(format("%s is %" PRIu64 " bytes long, with %" PRIu64 " left in the file and %" PRIu64
                                " allowed",
                                what, length, reader_.remaining(), most));
    }

    Status read_string(std::string& out, uint64_t most, const char* what) {
        uint64_t length = 0;
        RKNPU2_RETURN_IF_ERROR(read_length(length, most, what));
        out.resize(static_cast<size_t>(length));
        return reader_.read(out.data(), out.size(), what);
    }

    Status read_metadata() {
        std::set<std::string> seen;
        for (uint64_t i = 0; i < pair_count_; ++i) {
            std::string key;
            RKNPU2_RETURN_IF_ERROR(read_string(key, kMaxKey, "a metadata key"));
            if (key.empty()) return malformed("a metadata key is empty");
            const std::string shown = "metadata \"" + printable(key) + "\"";
            if (!seen.insert(key).second) return malformed(shown + " is there twice");
            RKNPU2_RETURN_IF_ERROR(read_value(key).with_context(shown));
        }
        file_.alignment = file_.number("general.alignment", file_.alignment);
        if (std::has_single_bit(file_.alignment)) return {};
        return malformed("general.alignment is not a power of two");
    }

    Status read_value(const std::string& key) {
        uint32_t type = 0;
        RKNPU2_RETURN_IF_ERROR(reader_.read_number(type, "a value's type"));
        if (key == "general.alignment" && type != kUint32)
            return malformed("its value is not of type uint32");
        if (type == kString) return read_text(key);
        if (type == kArray) return skip_array();
        // By type number: the ten kinds of numbers, and bool.
        constexpr Status (Parser::*kKeep[])(const std::string&) = {&Parser::keep<uint8_t, uint64_t>,
                                                                   &Parser::keep<int8_t, int64_t>,
                                                                   &Parser::keep<uint16_t, uint64_t>,
                                                                   &Parser::keep<int16_t, int64_t>,
                                                                   &Parser::keep<uint32_t, uint64_t>,
                                                                   &Parser::keep<int32_t, int64_t>,
                                                                   &Parser::keep<float, double>,
                                                                   &Parser::keep<uint8_t, bool>,
                                                                   nullptr,
                                                                   nullptr,
                                                                   &Parser::keep<uint64_t, uint64_t>,
                                                                   &Parser::keep<int64_t, int64_t>,
                                                                   &Parser::keep<double, double>};
        if (type < std::size(kKeep)) {
            const auto keep_number = kKeep[type];
            return (this->*keep_number)(key);
        }
        return malformed(format("its value has the unknown type %" PRIu32, type));
    }

    template <typename Stored, typename Kept>
    Status keep(const std::string& key) {
        Stored value{};
        RKNPU2_RETURN_IF_ERROR(reader_.read_number(value, "a value"));
        file_.metadata[key] = static_cast<Kept>(value);
        return {};
    }

    Status read_text(const std::string& key) {
        uint64_t length = 0;
        RKNPU2_RETURN_IF_ERROR(read_length(length, kMaxLength, "a string"));
        if (length > kMaxKeptString) return reader_.skip(length, "a string");
        std::string text(static_cast<size_t>(length), '\0');
        RKNPU2_RETURN_IF_ERROR(reader_.read(text.data(), text.size(), "a string"));
        file_.metadata[key] = std::move(text);
        return {};
    }

    Status skip_array() {
        uint32_t type = 0;
        uint64_t count = 0;
        RKNPU2_RETURN_IF_ERROR(reader_.read_number(type, "an array's type"));
        RKNPU2_RETURN_IF_ERROR(reader_.read_number(count, "an array's length"));
        const uint64_t least =
            type == kString ? sizeof(uint64_t) : (type < kValueBytes.size() ? kValueBytes[type] : 0);
        if (least == 0) {
            return malformed(
                format("its array has elements of the type %" PRIu32 ", which ggml refuses", type));
        }
        if (count > kMaxLength || count > reader_.remaining() / least)
            return malformed(format("its array of %" PRIu64 " elements does not fit in the file", count));
        if (type != kString) return reader_.skip(count * least, "an array");
        for (uint64_t i = 0; i < count; ++i) {
            uint64_t length = 0;
            RKNPU2_RETURN_IF_ERROR(read_length(length, kMaxLength, "a string of its array"));
            RKNPU2_RETURN_IF_ERROR(reader_.skip(length, "a string of its array"));
        }
        return {};
    }

    Status read_tensors() {
        std::set<std::string> seen;
        for (uint64_t i = 0; i < tensor_count_; ++i) {
            GgufTensor tensor;
            RKNPU2_RETURN_IF_ERROR(read_string(tensor.name, kMaxName, "a tensor's name"));
            const std::string shown = "tensor \"" + printable(tensor.name) + "\"";
            if (!seen.insert(tensor.name).second) return malformed(shown + " is there twice");
            RKNPU2_RETURN_IF_ERROR(read_shape(tensor).with_context(shown));
            RKNPU2_RETURN_IF_ERROR(reader_.read_number(tensor.offset, "its offset").with_context(shown));
            file_.tensors.push_back(std::move(tensor));
        }
        return {};
    }

    Status read_shape(GgufTensor& tensor) {
        RKNPU2_RETURN_IF_ERROR(reader_.read_number(tensor.dimensions, "its number of dimensions"));
        if (tensor.dimensions > kGgufDimensions) {
            return malformed(
                format("%" PRIu32 " dimensions; ggml has %zu", tensor.dimensions, kGgufDimensions));
        }
        // As in ggml, what counts against the limit is the product of the dimensions that are not zero.
        uint64_t limit_product = 1;
        uint64_t elements = 1;
        for (uint32_t d = 0; d < tensor.dimensions; ++d) {
            uint64_t& ne = tensor.ne[d];
            RKNPU2_RETURN_IF_ERROR(reader_.read_number(ne, "a dimension"));
            if (ne > kMaxElements || !checked_mul(limit_product, std::max<uint64_t>(1, ne), limit_product) ||
                limit_product > kMaxElements) {
                return malformed(format("dimension %" PRIu32 " of %" PRIu64 " makes it too large", d, ne));
            }
            elements *= ne;
        }
        uint32_t id = 0;
        RKNPU2_RETURN_IF_ERROR(reader_.read_number(id, "its type"));
        tensor.type = find_ggml_type(id);
        if (tensor.type == nullptr) return malformed(format("its type %" PRIu32 " is unknown", id));
        if (tensor.ne[0] % tensor.type->block != 0) {
            return malformed(format("rows of %" PRIu64 " are not whole blocks of %" PRIu32
                                    " as %s needs them",
                                    tensor.ne[0], tensor.type->block, tensor.type->name));
        }
        if (!checked_mul(elements / tensor.type->block, tensor.type->bytes, tensor.bytes))
            return malformed("its size in bytes is too large");
        return {};
    }

    // As ggml does, requires the tensors one after the other, each start aligned, without gaps.
    Status check_data() {
        const uint64_t mask = file_.alignment - 1;
        file_.data_offset = reader_.position();
        if (file_.tensors.empty()) return {};
        file_.data_offset = (reader_.position() + mask) & ~mask;
        if (file_.data_offset > reader_.size()) {
            return {StatusCode::kIo, format("truncated: the tensor data would begin at offset %" PRIu64
                                            ", and the file ends at %" PRIu64,
                                            file_.data_offset, reader_.size())};
        }
        const uint64_t available = reader_.size() - file_.data_offset;
        uint64_t expected = 0;
        for (const GgufTensor& tensor : file_.tensors) {
            const std::string shown = "tensor \"" + printable(tensor.name) + "\"";
            if (tensor.offset != expected) {
                return malformed(shown + format(" is at offset %" PRIu64 " of the data, not at %" PRIu64,
                                                tensor.offset, expected));
            }
            if (tensor.offset > available || tensor.bytes > available - tensor.offset) {
                return {StatusCode::kIo, "truncated: " + shown +
                                             format(" needs %" PRIu64 " bytes at offset %" PRIu64
                                                    " of the data, which has %" PRIu64,
                                                    tensor.bytes, tensor.offset, available)};
            }
            // No overflow: the end is inside the file, whose size is far from the limit of 64 bits.
            expected = (tensor.offset + tensor.bytes + mask) & ~mask;
        }
        return {};
    }

    ByteReader reader_;
    GgufFile file_;
    uint64_t tensor_count_ = 0;
    uint64_t pair_count_ = 0;
};

}  // namespace

Result<GgufFile> GgufFile::parse(ByteReader reader) {
    return Parser(std::move(reader)).run();
}

Result<GgufFile> GgufFile::open(const std::string& path) {
    const OpenedFile opened = RKNPU2_TAKE(open_regular_file(path));
    const auto source = [number = opened.file.number()](uint64_t offset, void* out, size_t bytes) {
        return read_at(number, out, bytes, offset).ok();
    };
    return parse(ByteReader(source, opened.bytes)).with_context(path);
}

const GgufTensor* GgufFile::find(const std::string& name) const {
    const auto found = std::find_if(tensors.begin(), tensors.end(),
                                    [&](const GgufTensor& tensor) { return tensor.name == name; });
    return found != tensors.end() ? &*found : nullptr;
}

template <typename T>
const T* GgufFile::value_of(const std::string& key) const {
    const auto entry = metadata.find(key);
    return entry == metadata.end() ? nullptr : std::get_if<T>(&entry->second);
}

std::string GgufFile::text(const std::string& key, const std::string& missing) const {
    const auto* const value = value_of<std::string>(key);
    return value != nullptr ? *value : missing;
}

uint64_t GgufFile::number(const std::string& key, uint64_t missing) const {
    if (const auto* const value = value_of<uint64_t>(key)) return *value;
    const auto* const value = value_of<int64_t>(key);
    return value != nullptr && *value >= 0 ? static_cast<uint64_t>(*value) : missing;
}

bool GgufFile::flag(const std::string& key, bool missing) const {
    const auto* const value = value_of<bool>(key);
    return value != nullptr ? *value : missing;
}

}  // namespace rknpu2
