// SPDX-License-Identifier: MIT
// Files of activation statistics. The first byte says whether the checksum is set right, so that what it
// protects is reached. What is accepted keeps what its header promises and survives being written again.
#include <cmath>

#include "base/hash.hpp"
#include "calibration/activation_stats.hpp"
#include "fuzz/check.hpp"
#include "fuzz/input.hpp"

using namespace rknpu2;  // NOLINT: this is its program

namespace {

// As the comment in channel_statistics.hpp has it: a hash of the words before it.
void set_checksum(std::string& content) {
    if (content.size() < sizeof(uint64_t)) return;
    const size_t body = content.size() - sizeof(uint64_t);
    uint64_t state = body;
    for (size_t at = 0; at < body; at += sizeof(uint64_t)) {
        uint64_t word = 0;
        std::memcpy(&word, content.data() + at, std::min(sizeof word, body - at));
        state = hash_step(state, word);
    }
    std::memcpy(content.data() + body, &state, sizeof state);
}

bool same(const ActivationStats& a, const ActivationStats& b) {
    return a.N == b.N && a.K == b.K && a.fingerprint == b.fingerprint && a.rows == b.rows &&
           a.mean == b.mean && a.mean_square == b.mean_square && a.output == b.output &&
           a.one_plane_divergence == b.one_plane_divergence;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    fuzz::Input input(data, size);
    const bool mend = input.number<uint8_t>() % 2 == 1;
    std::string content = input.rest();
    if (mend) set_checksum(content);
    const Result<ModelStats> decoded = decode_stats(content);
    if (!decoded.ok()) {
        FUZZ_CHECK(decoded.status().code() == StatusCode::kInvalidArgument);
        FUZZ_CHECK(fuzz::is_one_line(decoded.status().message()));
        return 0;
    }
    for (const auto& [name, entry] : decoded.value()) {
        FUZZ_CHECK(!name.empty() && name.size() <= 255);
        FUZZ_CHECK(entry.N > 0 && entry.K > 0 && entry.rows > 0);
        FUZZ_CHECK(entry.mean.size() == entry.K && entry.mean_square.size() == entry.K);
        FUZZ_CHECK(entry.measured() || entry.one_plane_divergence == ActivationStats::kNotMeasured);
        for (size_t k = 0; k < entry.K; ++k) {
            FUZZ_CHECK(std::isfinite(entry.mean[k]));
            FUZZ_CHECK(std::isfinite(entry.mean_square[k]) && entry.mean_square[k] >= 0);
        }
    }
    const std::string again = encode_stats(decoded.value());
    FUZZ_CHECK(again.size() == content.size());
    const Result<ModelStats> reread = decode_stats(again);
    FUZZ_CHECK(reread.ok() && reread.value().size() == decoded.value().size());
    for (const auto& [name, entry] : decoded.value())
        FUZZ_CHECK(same(entry, reread.value().at(name)));
    return 0;
}
