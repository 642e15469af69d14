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

// As the comment in activation_stats.hpp has it: a hash of the words of each part, the second of which begins where
// the number behind the first sixteen bytes says.
void set_checksums(std::string& content) {
    constexpr size_t kPreamble = 16;
    const auto set = [&](uint64_t begin, uint64_t end) {
        if (end > content.size() || end < sizeof(uint64_t) || begin > end - sizeof(uint64_t)) return;
        const size_t body = static_cast<size_t>(end) - sizeof(uint64_t);
        const uint64_t sum = hash_words(content.data() + begin, body - begin);
        std::memcpy(content.data() + body, &sum, sizeof sum);
    };
    uint64_t first = 0;
    const bool of_version_3 = content.size() >= kPreamble + sizeof first && content[8] == 3;
    if (of_version_3) {
        std::memcpy(&first, content.data() + kPreamble, sizeof first);
        set(0, first);
        if (first > content.size()) first = 0;
    }
    set(first, content.size());
}

bool same(const ActivationStats& a, const ActivationStats& b) {
    return a.N == b.N && a.K == b.K && a.fingerprint == b.fingerprint && a.rows == b.rows &&
           a.mean == b.mean && a.mean_square == b.mean_square && a.output == b.output &&
           a.one_plane_divergence == b.one_plane_divergence &&
           (a.moments == nullptr) == (b.moments == nullptr) &&
           (a.moments == nullptr || a.moments->identity == b.moments->identity);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    fuzz::Input input(data, size);
    const bool mend = input.number<uint8_t>() % 2 == 1;
    std::string content = input.rest();
    if (mend) set_checksums(content);
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
        if (entry.moments == nullptr) continue;
        const KSegment& last = entry.moments->segments.back();
        FUZZ_CHECK(last.k0 + last.k_count == entry.K);
        FUZZ_CHECK(entry.moments->squares.size() == channel_count(entry.moments->segments));
        FUZZ_CHECK(entry.moments->correlations.size() == correlation_count(entry.moments->segments));
    }
    const std::string again = encode_stats(decoded.value());
    const Result<ModelStats> reread = decode_stats(again);
    FUZZ_CHECK(reread.ok() && reread.value().size() == decoded.value().size());
    for (const auto& [name, entry] : decoded.value())
        FUZZ_CHECK(same(entry, reread.value().at(name)));
    FUZZ_CHECK(encode_stats(reread.value()) == again);
    const Result<ModelStats> first = decode_stats(content, Moments::kLeaveOut);
    FUZZ_CHECK(first.ok() && first.value().size() == decoded.value().size());
    return 0;
}
