// SPDX-License-Identifier: MIT
// From a problem of any size to its plan: what support() accepts can be planned (plan_properties.hpp), and
// what it refuses it refuses for a reason.
#include "fuzz/input.hpp"
#include "fuzz/plan_properties.hpp"

using namespace rknpu2;  // NOLINT: this is its program

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    fuzz::Input input(data, size);
    MatmulProblem p;
    // A bit of zero is what can be multiplied, so that most inputs are about sizes.
    const auto flags = input.number<uint16_t>();
    const auto bit = [&](int i) { return (flags >> i & 1) == 0; };
    p.weight_is_stored = bit(0);
    p.weight_in_our_memory = bit(1);
    p.weight_in_compute_buffer = !bit(2);
    p.weight_is_rotation = !bit(3);
    p.weight_is_matrix = bit(4);
    p.weight_is_contiguous = bit(5);
    p.weight_can_be_dequantised = bit(6);
    p.activations_are_float = bit(7);
    p.activations_are_contiguous = bit(8);
    p.shapes_agree = bit(9);
    Config config;
    const auto setting = input.number<uint8_t>();
    config.precision = static_cast<Precision>(setting % 5);
    config.cores = 1 + setting / 5 % 3;
    constexpr int kColumns[] = {64, 4096, 16384, 131072};
    config.columns = kColumns[setting / 15 % 4];
    p.M = input.size();
    p.N = input.size();
    p.K = input.size();
    p.experts = input.size();
    p.experts_used = input.size();
    p.operand_bytes = input.size();
    const Reason reason = support(p);
    if (reason != Reason::kSupported) {
        FUZZ_CHECK(fuzz::is_one_line(reason_text(reason)));
        const bool small =
            p.M <= 1000 && p.N <= 1000 && p.K <= 1000 && p.experts <= 1000 && p.operand_bytes <= 1000;
        FUZZ_CHECK(!small || reason != Reason::kTooLarge);
        FUZZ_CHECK((flags & 0x3ff) != 0 || reason == Reason::kEmpty || reason == Reason::kTooLarge);
        return 0;
    }
    FUZZ_CHECK((flags & 0x3ff) == 0);
    fuzz::check_supported(p, config);
    const size_t used = p.experts_used;
    if (p.experts > 0 && used > 0 && used <= p.experts && p.M % used == 0) {
        fuzz::check_choice({.K = p.K,
                            .N = p.N,
                            .experts = p.experts,
                            .used = used,
                            .tokens = p.M / used,
                            .raw_bytes = p.K * p.N},
                           config);
    }
    return 0;
}
