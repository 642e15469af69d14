// SPDX-License-Identifier: MIT
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "base/format.hpp"
#include "base/hash.hpp"
#include "calibration/activation_stats.hpp"
#include "gguf/byte_reader.hpp"
#include "system/file.hpp"

namespace rknpu2 {
namespace {

static_assert(std::endian::native == std::endian::little);

constexpr char kMagic[] = "RKNPUCAL";
constexpr size_t kMagicBytes = sizeof kMagic - 1;
constexpr uint32_t kVersion = 4;
constexpr uint32_t kVersionWithoutMoments = 2;
constexpr size_t kLongestName = 255;
constexpr uint64_t kLargestK = uint64_t{1} << 24;
constexpr uint64_t kLargestFile = uint64_t{1} << 30;  // a model of 70B has some 600 MB of second moments
constexpr size_t kSumBytes = sizeof(uint64_t);
constexpr size_t kPreamble = kMagicBytes + 2 * sizeof(uint32_t);  // to the number of entries
constexpr size_t kHeader = kPreamble + sizeof(uint64_t);          // of version 3 on

template <typename T>
void put(std::string& to, const T& value) {
    to.append(reinterpret_cast<const char*>(&value), sizeof value);
}

template <typename T>
void put(std::string& to, const std::vector<T>& values) {
    to.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
}

Status bad(std::string what) {
    return {StatusCode::kInvalidArgument, std::move(what)};
}

bool all_finite(const std::vector<float>& values) {
    return std::all_of(values.begin(), values.end(), [](float x) { return std::isfinite(x); });
}

template <typename T>
bool read_values(ByteReader& reader, uint64_t count, std::vector<T>& values) {
    if (count * sizeof(T) > reader.remaining()) return false;
    values.resize(count);
    return reader.read(values.data(), count * sizeof(T), "values").ok();
}

template <typename T>
bool read_number(ByteReader& reader, T& value) {
    return reader.read_number(value, "a number").ok();
}

using MomentTables = std::vector<std::shared_ptr<const SecondMoments>>;

Status decode_entry(ByteReader& reader, uint32_t version, ModelStats& statistics,
                    std::map<std::string, uint32_t>& tables) {
    uint32_t length = 0;
    if (!read_number(reader, length) || length == 0 || length > kLongestName)
        return bad("an entry without a proper name");
    std::string name(length, '\0');
    ActivationStats entry;
    uint64_t N = 0, K = 0;
    uint32_t output = 0, table = 0;
    const bool whole = reader.read(name.data(), length, "a name").ok() && read_number(reader, N) &&
                       read_number(reader, K) && read_number(reader, entry.fingerprint) &&
                       read_number(reader, entry.rows);
    if (!whole) return bad("cut short");
    const std::string shown = printable(name);
    if (N == 0 || K == 0 || K > kLargestK || entry.rows == 0)
        return bad(format("%s has an impossible shape", shown.c_str()));
    if (!read_number(reader, output) || !read_number(reader, entry.one_plane_divergence))
        return bad("cut short");
    if (output > 1 || !(entry.measured() || entry.one_plane_divergence == ActivationStats::kNotMeasured) ||
        !std::isfinite(entry.one_plane_divergence))
        return bad(format("%s has a sensitivity that cannot be", shown.c_str()));
    if (version != kVersionWithoutMoments && !read_number(reader, table)) return bad("cut short");
    if (!read_values(reader, K, entry.mean) || !read_values(reader, K, entry.mean_square))
        return bad("cut short");
    const bool positive =
        std::none_of(entry.mean_square.begin(), entry.mean_square.end(), [](float x) { return x < 0; });
    if (!all_finite(entry.mean) || !all_finite(entry.mean_square) || !positive)
        return bad(format("%s has values that are no statistics", shown.c_str()));
    entry.N = N;
    entry.K = K;
    entry.output = output == 1;
    if (!statistics.emplace(name, std::move(entry)).second)
        return bad(format("%s stands in it twice", shown.c_str()));
    if (table > 0) tables[name] = table;
    return {};
}

// Segments of whole rotation blocks, but for the last one.
std::vector<KSegment> cut(size_t K, size_t depth) {
    std::vector<KSegment> segments;
    for (size_t k0 = 0; k0 < K; k0 += depth) {
        const size_t count = std::min(depth, K - k0);
        segments.push_back({k0, count, round_up(count, rk3588::kAlignK)});
    }
    return segments;
}

Result<MomentTables> decode_tables(ByteReader& reader) {
    uint32_t count = 0;
    if (!read_number(reader, count)) return bad("cut short");
    MomentTables tables;
    for (uint32_t i = 0; i < count; ++i) {
        uint64_t K = 0, depth = 0;
        if (!read_number(reader, K) || !read_number(reader, depth)) return bad("cut short");
        if (K == 0 || K > kLargestK || depth == 0 || depth > round_up(K, rk3588::kAlignK) ||
            depth % rk3588::kAlignK != 0)
            return bad("second moments of an impossible shape");
        std::vector<KSegment> segments = cut(K, depth);
        std::vector<float> squares;
        std::vector<int8_t> correlations;
        if (!read_values(reader, channel_count(segments), squares) ||
            !read_values(reader, correlation_count(segments), correlations))
            return bad("cut short");
        tables.push_back(make_moments(std::move(segments), std::move(squares), std::move(correlations)));
        if (tables.back() == nullptr) return bad("second moments that are none");
    }
    if (reader.remaining() != 0) return bad("longer than its second moments");
    return tables;
}

// The bytes before a checksum that ends at `end`, from `begin` on.
Result<ByteReader> checked_part(const std::string& content, size_t begin, size_t end) {
    const size_t body = end - kSumBytes;
    uint64_t sum = 0;
    std::memcpy(&sum, content.data() + body, kSumBytes);
    if (sum != hash_words(content.data() + begin, body - begin))
        return bad("cut short or damaged (the checksum differs)");
    const auto source = [&content, begin](uint64_t offset, void* out, size_t bytes) {
        std::memcpy(out, content.data() + begin + offset, bytes);
        return true;
    };
    return ByteReader(source, body - begin);
}

}  // namespace

std::string encode_stats(const ModelStats& statistics) {
    MomentTables tables;
    std::map<const SecondMoments*, uint32_t> numbers;
    std::string text(kMagic, kMagicBytes);
    put(text, kVersion);
    put(text, static_cast<uint32_t>(statistics.size()));
    put(text, uint64_t{0});  // the bytes, below
    for (const auto& [name, entry] : statistics) {
        uint32_t table = 0;
        if (entry.moments != nullptr) {
            const auto [at, is_new] =
                numbers.emplace(entry.moments.get(), static_cast<uint32_t>(tables.size() + 1));
            if (is_new) tables.push_back(entry.moments);
            table = at->second;
        }
        put(text, static_cast<uint32_t>(name.size()));
        text += name;
        put(text, static_cast<uint64_t>(entry.N));
        put(text, static_cast<uint64_t>(entry.K));
        put(text, entry.fingerprint);
        put(text, entry.rows);
        put(text, static_cast<uint32_t>(entry.output ? 1 : 0));
        put(text, entry.one_plane_divergence);
        put(text, table);
        put(text, entry.mean);
        put(text, entry.mean_square);
    }
    const uint64_t first = text.size() + kSumBytes;
    std::memcpy(text.data() + kPreamble, &first, sizeof first);
    put(text, hash_words(text.data(), text.size()));
    put(text, static_cast<uint32_t>(tables.size()));
    for (const auto& table : tables) {
        const KSegment& last = table->segments.back();
        put(text, static_cast<uint64_t>(last.k0 + last.k_count));
        put(text, static_cast<uint64_t>(table->segments.front().K_padded));
        put(text, table->squares);
        put(text, table->correlations);
    }
    put(text, hash_words(text.data() + first, text.size() - first));
    return text;
}

Result<ModelStats> decode_stats(const std::string& content, Moments moments) {
    if (content.compare(0, kMagicBytes, kMagic) != 0) return bad("not a file of activation statistics");
    if (content.size() < kPreamble + kSumBytes) return bad("cut short");
    uint32_t version = 0, count = 0;
    std::memcpy(&version, content.data() + kMagicBytes, sizeof version);
    std::memcpy(&count, content.data() + kMagicBytes + sizeof version, sizeof count);
    if (version > kVersion || version < kVersionWithoutMoments)
        return bad(format("version %u, not %u", version, kVersion));
    uint64_t first = content.size();
    size_t begin = kPreamble;
    if (version != kVersionWithoutMoments) {
        begin = kHeader;
        if (content.size() < kHeader + kSumBytes) return bad("cut short");
        std::memcpy(&first, content.data() + kPreamble, sizeof first);
        if (first < kHeader + kSumBytes || first > content.size())
            return bad("cut short or damaged (the checksum differs)");
    }
    ByteReader entries = RKNPU2_TAKE(checked_part(content, 0, first));
    RKNPU2_RETURN_IF_ERROR(entries.skip(begin, "the header"));
    ModelStats statistics;
    std::map<std::string, uint32_t> numbers;
    for (uint32_t i = 0; i < count; ++i)
        RKNPU2_RETURN_IF_ERROR(decode_entry(entries, version, statistics, numbers));
    if (entries.remaining() != 0) return bad("longer than its entries");
    if (version != kVersion || moments == Moments::kLeaveOut) return statistics;
    if (content.size() < first + sizeof(uint32_t) + kSumBytes) return bad("cut short");
    ByteReader rest = RKNPU2_TAKE(checked_part(content, first, content.size()));
    const MomentTables tables = RKNPU2_TAKE(decode_tables(rest));
    for (const auto& [name, number] : numbers) {
        ActivationStats& entry = statistics.at(name);
        if (number > tables.size()) return bad("an entry whose second moments are not there");
        const KSegment& last = tables[number - 1]->segments.back();
        if (last.k0 + last.k_count != entry.K)
            return bad(format("%s has second moments of another shape", printable(name).c_str()));
        // Those of another cut of K, by another version, are of another basis: of no use.
        if (tables[number - 1]->segments == segments_of(entry.K, NpuArithmetic::kInt4))
            entry.moments = tables[number - 1];
    }
    return statistics;
}

Result<ModelStats> read_stats(const std::string& path, Moments moments) {
    if (moments == Moments::kRead)
        return decode_stats(RKNPU2_TAKE(read_regular_file(path, kLargestFile)), moments).with_context(path);
    const OpenedFile opened = RKNPU2_TAKE(open_regular_file(path));
    const auto read = [&](uint64_t bytes) -> Result<std::string> {
        std::string content(std::min({bytes, opened.bytes, kLargestFile}), '\0');
        RKNPU2_RETURN_IF_ERROR(
            read_at(opened.file.number(), content.data(), content.size(), 0).with_context(path));
        return content;
    };
    // The whole file unless it says where its first part ends.
    uint64_t first = opened.bytes;
    uint32_t version = 0;
    const std::string header = RKNPU2_TAKE(read(kHeader));
    if (header.size() == kHeader) {
        std::memcpy(&version, header.data() + kMagicBytes, sizeof version);
        if (version > kVersionWithoutMoments) std::memcpy(&first, header.data() + kPreamble, sizeof first);
    }
    return decode_stats(RKNPU2_TAKE(read(first)), moments).with_context(path);
}

}  // namespace rknpu2
