// SPDX-License-Identifier: MIT
#include "calibration/activation_stats.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "base/format.hpp"
#include "base/hash.hpp"
#include "gguf/byte_reader.hpp"
#include "system/file.hpp"

namespace rknpu2 {
namespace {

static_assert(std::endian::native == std::endian::little);

constexpr char kMagic[] = "RKNPUCAL";
constexpr size_t kMagicBytes = sizeof kMagic - 1;
constexpr uint32_t kVersion = 2;
constexpr size_t kLongestName = 255;
constexpr uint64_t kLargestK = uint64_t{1} << 24;
constexpr size_t kFingerprintWords = 256;
constexpr uint64_t kLargestFile = uint64_t{1} << 30;  // a model of 70B has some 20 MB of them

uint64_t hash_bytes(const char* data, size_t bytes) {
    uint64_t state = bytes;
    for (size_t at = 0; at < bytes; at += sizeof(uint64_t)) {
        uint64_t word = 0;
        std::memcpy(&word, data + at, std::min(sizeof word, bytes - at));
        state = hash_step(state, word);
    }
    return state;
}

template <typename T>
void put(std::string& to, const T& value) {
    to.append(reinterpret_cast<const char*>(&value), sizeof value);
}

void put(std::string& to, const std::vector<float>& values) {
    to.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
}

Status bad(std::string what) {
    return {StatusCode::kInvalidArgument, std::move(what)};
}

bool all_finite(const std::vector<float>& values) {
    return std::all_of(values.begin(), values.end(), [](float x) { return std::isfinite(x); });
}

bool read_floats(ByteReader& reader, uint64_t count, std::vector<float>& values) {
    if (count * sizeof(float) > reader.remaining()) return false;
    values.resize(count);
    return reader.read(values.data(), count * sizeof(float), "values").ok();
}

Status decode_entry(ByteReader& reader, ModelStats& statistics) {
    const auto number = [&](auto& value) { return reader.read_number(value, "a number").ok(); };
    uint32_t length = 0;
    if (!number(length) || length == 0 || length > kLongestName) return bad("an entry without a proper name");
    std::string name(length, '\0');
    ActivationStats entry;
    uint64_t N = 0, K = 0;
    uint32_t output = 0;
    const bool whole = reader.read(name.data(), length, "a name").ok() && number(N) && number(K) &&
                       number(entry.fingerprint) && number(entry.rows);
    if (!whole) return bad("cut short");
    const std::string shown = printable(name);
    if (N == 0 || K == 0 || K > kLargestK || entry.rows == 0)
        return bad(format("%s has an impossible shape", shown.c_str()));
    if (!number(output) || !number(entry.one_plane_divergence)) return bad("cut short");
    if (output > 1 || !(entry.measured() || entry.one_plane_divergence == ActivationStats::kNotMeasured) ||
        !std::isfinite(entry.one_plane_divergence))
        return bad(format("%s has a sensitivity that cannot be", shown.c_str()));
    if (!read_floats(reader, K, entry.mean) || !read_floats(reader, K, entry.mean_square))
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
    return {};
}

}  // namespace

uint64_t weight_fingerprint(const WeightSource& weight) {
    uint64_t state = hash_bytes(weight.type_name.data(), weight.type_name.size());
    state = hash_step(hash_step(state, weight.N), weight.K);
    const size_t bytes = weight.bytes();
    const auto* const data = reinterpret_cast<const char*>(weight.data);
    if (bytes <= kFingerprintWords * sizeof(uint64_t)) return hash_step(state, hash_bytes(data, bytes));
    const size_t last = bytes - sizeof(uint64_t);
    for (size_t i = 0; i < kFingerprintWords; ++i) {
        // The last word is among them even when the division leaves a remainder.
        const size_t at = i + 1 == kFingerprintWords ? last : last / (kFingerprintWords - 1) * i;
        uint64_t word = 0;
        std::memcpy(&word, data + at, sizeof word);
        state = hash_step(state, word);
    }
    return state;
}

std::string encode_stats(const ModelStats& statistics) {
    std::string text(kMagic, kMagicBytes);
    put(text, kVersion);
    put(text, static_cast<uint32_t>(statistics.size()));
    for (const auto& [name, entry] : statistics) {
        put(text, static_cast<uint32_t>(name.size()));
        text += name;
        put(text, static_cast<uint64_t>(entry.N));
        put(text, static_cast<uint64_t>(entry.K));
        put(text, entry.fingerprint);
        put(text, entry.rows);
        put(text, static_cast<uint32_t>(entry.output ? 1 : 0));
        put(text, entry.one_plane_divergence);
        put(text, entry.mean);
        put(text, entry.mean_square);
    }
    put(text, hash_bytes(text.data(), text.size()));
    return text;
}

Result<ModelStats> decode_stats(const std::string& content) {
    constexpr size_t kSumBytes = sizeof(uint64_t);
    if (content.compare(0, kMagicBytes, kMagic) != 0) return bad("not a file of activation statistics");
    if (content.size() < kMagicBytes + 2 * sizeof(uint32_t) + kSumBytes) return bad("cut short");
    const size_t body = content.size() - kSumBytes;
    const auto source = [&](uint64_t offset, void* out, size_t bytes) {
        std::memcpy(out, content.data() + offset, bytes);
        return true;
    };
    ByteReader reader(source, body);
    uint32_t version = 0, count = 0;
    RKNPU2_RETURN_IF_ERROR(reader.skip(kMagicBytes, "the magic number"));
    RKNPU2_RETURN_IF_ERROR(reader.read_number(version, "the version"));
    RKNPU2_RETURN_IF_ERROR(reader.read_number(count, "the number of entries"));
    if (version != kVersion) return bad(format("version %u, not %u", version, kVersion));
    uint64_t sum = 0;
    std::memcpy(&sum, content.data() + body, kSumBytes);
    if (sum != hash_bytes(content.data(), body)) return bad("cut short or damaged (the checksum differs)");
    ModelStats statistics;
    for (uint32_t i = 0; i < count; ++i)
        RKNPU2_RETURN_IF_ERROR(decode_entry(reader, statistics));
    if (reader.remaining() != 0) return bad("longer than its entries");
    return statistics;
}

Result<ModelStats> read_stats(const std::string& path) {
    return decode_stats(RKNPU2_TAKE(read_regular_file(path, kLargestFile))).with_context(path);
}

std::vector<float> smoothing_factors(const ActivationStats& statistics) {
    double loudest = 0;
    for (const float square : statistics.mean_square)
        loudest = std::max(loudest, std::sqrt(static_cast<double>(square)));
    if (loudest == 0) return std::vector<float>(statistics.K, 1.0F);
    std::vector<double> logs;
    double sum = 0;
    for (const float square : statistics.mean_square) {
        const double rms = std::max(std::sqrt(static_cast<double>(square)), loudest * kQuietest);
        logs.push_back(-0.5 * std::log(rms));
        sum += logs.back();
    }
    const double mean = sum / static_cast<double>(logs.size());
    std::vector<float> factors;
    factors.reserve(logs.size());
    for (const double log : logs)
        factors.push_back(static_cast<float>(std::exp(log - mean)));
    return factors;
}

}  // namespace rknpu2
