// SPDX-License-Identifier: MIT
#include "weights/weight_cache.hpp"

#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/format.hpp"
#include "base/log.hpp"
#include "kernels/rotate.hpp"
#include "plan/cost_model.hpp"
#include "system/system_memory.hpp"
#include "weights/packer.hpp"

namespace rknpu2 {
namespace {

constexpr char kMagic[8] = {'R', 'K', 'N', 'P', 'U', 'W', 'G', 'T'};
constexpr uint32_t kVersion = 1;  // of the file; kPackingVersion is that of its content

struct Header {
    char magic[8];
    uint32_t version;
    uint32_t
        form;  // bit 0: the plan's rotation was kept, as it would not have harmed; from bit 8 on: planes of int4
    Digest key;
    uint64_t cell_bytes;
    uint64_t scales;  // floats, as all that follow
    uint64_t offsets;
    uint64_t input_factors;
    uint64_t bias;
    Digest payload;
    Digest header;  // of all before it
};
static_assert(sizeof(Header) == 104 && std::has_unique_object_representations_v<Header>);

// What a thread reads or hashes at a time: it is still in its cache for the second of the two.
constexpr size_t kPieceBytes = size_t{256} << 10;
constexpr uint64_t kBytesPerNs = 3;  // what a thread does of it in a nanosecond, roughly

struct Piece {
    std::byte* data;
    size_t bytes;
    uint64_t offset;  // in the file
};

class Pieces {
  public:
    explicit Pieces(uint64_t offset) : offset_(offset) {}

    void add(std::byte* data, size_t bytes) {
        for (size_t at = 0; at < bytes; at += kPieceBytes) {
            const size_t count = std::min(kPieceBytes, bytes - at);
            pieces_.push_back({data + at, count, offset_});
            offset_ += count;
        }
    }
    void add(const std::vector<float>& values) {
        // Read from or written to, as the caller's weight allows.
        add(reinterpret_cast<std::byte*>(const_cast<float*>(values.data())), values.size() * sizeof(float));
    }
    uint64_t end() const { return offset_; }

    // The digest of all, after body(piece) was called for each of them; the first failure of a body.
    template <typename Body>
    Result<Digest> digest(ThreadPool& pool, const Body& body) const {
        std::vector<Digest> digests(pieces_.size());
        const auto visit = [&](size_t i) {
            RKNPU2_RETURN_IF_ERROR(body(pieces_[i]));
            digests[i] = hash128(pieces_[i].data, pieces_[i].bytes);
            return Status();
        };
        RKNPU2_RETURN_IF_ERROR(pool.parallel_try(pieces_.size(), visit, offset_ / kBytesPerNs));
        return hash128(digests.data(), digests.size() * sizeof(Digest));
    }

  private:
    uint64_t offset_;
    std::vector<Piece> pieces_;
};

Pieces pieces_of(const PackedWeight& packed) {
    Pieces pieces(sizeof(Header));
    const WeightPlan& plan = packed.plan;
    for (size_t s = 0; s < plan.segments.size(); ++s)
        for (size_t t = 0; t < plan.tiles.size(); ++t)
            pieces.add((*packed.cells)[s][t].data(), plan.cell_bytes(plan.segments[s], plan.tiles[t]));
    for (const std::vector<float>& scales : packed.channel_scales)
        pieces.add(scales);
    for (const std::vector<float>& offsets : packed.channel_offsets)
        pieces.add(offsets);
    pieces.add(packed.input_factors);
    pieces.add(packed.bias);
    return pieces;
}

Digest digest_of(const Header& header) {
    return hash128(&header, offsetof(Header, header));
}

uint32_t form_of(const PackedWeight& packed) {
    const bool digits = packed.plan.recipe.arithmetic == NpuArithmetic::kInt4;
    return (packed.plan.recipe.rotate ? 1U : 0U) | (digits ? static_cast<uint32_t>(packed.planes) << 8 : 0U);
}

// Those of a plan and pieces_that_fit().
bool may_be_planes(size_t planes, const PackedWeight& packed) {
    return std::has_single_bit(planes) && planes >= packed.plan.recipe.planes && planes <= 2 * kMostPieces;
}

Header header_of(const Digest& key, const PackedWeight& packed, const Digest& payload) {
    const size_t N = packed.plan.N;
    Header header{{},
                  kVersion,
                  form_of(packed),
                  key,
                  packed.plan.packed_bytes(),
                  packed.channel_scales.size() * N,
                  packed.channel_offsets.size() * N,
                  packed.input_factors.size(),
                  packed.bias.size(),
                  payload,
                  {}};
    std::memcpy(header.magic, kMagic, sizeof kMagic);
    header.header = digest_of(header);
    return header;
}

Status bad(const char* what) {
    return {StatusCode::kIo, what};
}

// Nothing in the file decides how much is read, or where to: it has to be what is expected. What the file may
// decide is to leave out a rotation that the plan has.
Result<std::shared_ptr<PackedWeight>> read_file(const OpenedFile& opened, const Digest& key,
                                                const ReservedWeight& reserved, ThreadPool& pool) {
    const int file = opened.file.number();
    Header header{};
    RKNPU2_RETURN_IF_ERROR(read_at(file, &header, sizeof header, 0));
    if (std::memcmp(header.magic, kMagic, sizeof kMagic) != 0) return bad("not a packed weight");
    if (header.version != kVersion)
        return Status(StatusCode::kIo, format("of version %u, not %u", header.version, kVersion));
    if (header.header != digest_of(header)) return bad("damaged (the checksum of its header differs)");
    auto packed =
        std::make_shared<PackedWeight>(reserved, reserved.plan.recipe.rotate && (header.form & 1) == 1);
    if (const size_t planes = header.form >> 8;
        packed->plan.recipe.arithmetic == NpuArithmetic::kInt4 && may_be_planes(planes, *packed))
        packed->planes = planes;
    const Header expected = header_of(key, *packed, header.payload);
    if (std::memcmp(&header, &expected, sizeof header) != 0) return bad("of another weight");
    const Pieces pieces = pieces_of(*packed);
    if (opened.bytes != pieces.end()) return bad(opened.bytes < pieces.end() ? "cut short" : "too long");
    const auto read = [&](const Piece& piece) {
        return read_at(file, piece.data, piece.bytes, piece.offset);
    };
    const Digest payload = RKNPU2_TAKE(pieces.digest(pool, read));
    if (payload != header.payload) return bad("damaged (the checksum differs)");
    separate_far_channels(*packed);
    return packed;
}

template <typename T>
void put(std::string& to, const T& value) {
    static_assert(std::has_unique_object_representations_v<T>);
    to.append(reinterpret_cast<const char*>(&value), sizeof value);
}

void put(std::string& to, const std::vector<float>& values) {
    put(to, values.size());
    to.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
}

void put(std::string& to, const WeightPlan& plan) {
    const Recipe& recipe = plan.recipe;
    put(to, static_cast<int>(recipe.arithmetic));
    put(to, static_cast<int>(recipe.rotate));
    put(to, static_cast<int>(recipe.one_scale_per_tensor));
    put(to, recipe.planes);
    put(to, plan.segments.size());
    for (const KSegment& segment : plan.segments)
        put(to, segment);
    put(to, plan.tiles.size());
    for (const NTile& tile : plan.tiles)
        put(to, tile);
}

}  // namespace

WeightCache::WeightCache(const std::string& directory, uint64_t limit_bytes, Counters& counters)
    : directory_(directory, kPackedWeightSuffix, limit_bytes), counters_(counters.weight_cache) {}

Digest WeightCache::key_of(const ReservedWeight& reserved, ThreadPool& pool) {
    const WeightSource& source = reserved.source;
    std::string text;
    put(text, kPackingVersion);
    put(text, kLargestRotation);
    put(text, std::bit_cast<uint64_t>(kRotationMayCost));
    put(text, source.type_name.size());
    text += source.type_name;
    put(text, source.N);
    put(text, source.K);
    put(text, reserved.plan);
    Pieces stored(0);
    stored.add(const_cast<std::byte*>(source.data), source.bytes());  // it is only read
    const auto look = [](const Piece& piece) {
        bring_pages(piece.data, piece.bytes, PageUse::kRead);
        return Status();
    };
    put(text, stored.digest(pool, look).value());
    // Another version of the host may turn the same bytes into other numbers.
    std::vector<float> row(source.K);
    for (const size_t n : {size_t{0}, source.N / 2, source.N - 1}) {
        source.dequantise(source.row(n), row.data(), static_cast<int64_t>(source.K));
        put(text, row);
    }
    put(text, static_cast<int>(reserved.stats != nullptr));
    if (reserved.stats != nullptr) {
        put(text, reserved.stats->mean);
        put(text, reserved.stats->mean_square);
        if (reserved.plan.recipe.arithmetic == NpuArithmetic::kInt4 && reserved.stats->moments != nullptr)
            put(text, reserved.stats->moments->identity);
    }
    return hash128(text.data(), text.size());
}

std::shared_ptr<const PackedWeight> WeightCache::load(const Digest& key, const ReservedWeight& reserved,
                                                      ThreadPool& pool) {
    const Result<OpenedFile> opened = directory_.open(key.hex());
    if (opened.ok() && !opened.value().file.is_open()) return nullptr;
    Status status = opened.status();
    if (status.ok()) {
        auto packed = read_file(opened.value(), key, reserved, pool);
        if (packed.ok()) {
            ++counters_.loaded;
            counters_.loaded_bytes += opened.value().bytes;
            return packed.take();
        }
        status = packed.status();
    }
    ++counters_.rejected;
    log(LogLevel::kWarning, "%s is not used: %s; the weight is packed again",
        directory_.path_of(key.hex()).c_str(), status.message().c_str());
    return nullptr;
}

Status WeightCache::write(const Digest& key, const PackedWeight& packed, ThreadPool& pool) {
    const Pieces pieces = pieces_of(packed);
    std::optional<FileCache::Unfinished> started = RKNPU2_TAKE(directory_.start(pieces.end()));
    if (!started) {
        return {StatusCode::kIo,
                "its files in use fill the cache of packed weights; GGML_RKNPU2_WEIGHT_CACHE_MB says how "
                "large it may be"};
    }
    FileCache::Unfinished file = std::move(*started);
    const int number = file.number();
    const Result<Digest> payload = pieces.digest(
        pool, [&](const Piece& piece) { return write_at(number, piece.data, piece.bytes, piece.offset); });
    RKNPU2_RETURN_IF_ERROR(payload.status().with_context(directory_.path_of(key.hex())));
    const Header header = header_of(key, packed, payload.value());
    RKNPU2_RETURN_IF_ERROR(
        write_at(number, &header, sizeof header, 0).with_context(directory_.path_of(key.hex())));
    RKNPU2_RETURN_IF_ERROR(directory_.commit(std::move(file), key.hex()));
    ++counters_.written;
    counters_.written_bytes += pieces.end();
    return {};
}

void WeightCache::store(const Digest& key, const PackedWeight& packed, ThreadPool& pool) {
    const Status status = write(key, packed, pool);
    if (status.ok()) return;
    ++counters_.not_written;
    // One line says it for all the weights that follow.
    if (reported_.exchange(true)) return;
    log(LogLevel::kWarning, "packed weights are not kept: %s", status.message().c_str());
}

}  // namespace rknpu2
