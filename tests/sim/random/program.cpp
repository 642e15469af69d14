// SPDX-License-Identifier: MIT
#include "sim/random/program.hpp"

#include <algorithm>
#include <cstring>

#include "base/format.hpp"
#include "matrix/float16.hpp"
#include "sim/random/rng.hpp"

namespace rknnsim_random {
namespace {

uint16_t half(Rng& rng) {
    return rknpu2::float_to_float16(static_cast<float>(rng.range(-1000, 1000)) / 512.0F);
}

uint16_t special_half(Rng& rng) {
    constexpr uint16_t kSpecial[] = {0x0000, 0x8000, 0x0001, 0x83FF, 0x7BFF, 0xFBFF,
                                     0x7C00, 0xFC00, 0x7E01, 0x0400, 0x3C00, 0xBC00};
    return rng.one_in(40) ? rng.pick(kSpecial) : half(rng);
}

void fill_bytes(Rng& rng, uint8_t* data, size_t bytes) {
    for (size_t at = 0; at < bytes; at += 8) {
        const uint64_t word = rng.bits();
        std::memcpy(data + at, &word, std::min<size_t>(8, bytes - at));
    }
}

}  // namespace

void fill(Pattern pattern, uint64_t seed, uint8_t* data, size_t bytes) {
    Rng rng(seed);
    constexpr uint8_t kExtremes[] = {0x80, 0x7F, 0x88, 0x77, 0xFF, 0x00};
    // Mostly one extreme value in a buffer, so that sums become large.
    const uint8_t usual = rng.pick(kExtremes);
    switch (pattern) {
        case Pattern::kZero:
            std::memset(data, 0, bytes);
            break;
        case Pattern::kBytes:
            fill_bytes(rng, data, bytes);
            break;
        case Pattern::kSmall:
            for (size_t i = 0; i < bytes; ++i)
                data[i] = static_cast<uint8_t>(rng.range(-3, 3));
            break;
        case Pattern::kExtremes:
            for (size_t i = 0; i < bytes; ++i)
                data[i] = rng.one_in(8) ? rng.pick(kExtremes) : usual;
            break;
        case Pattern::kHalf:
        case Pattern::kHalfSpecial:
            for (size_t at = 0; at < bytes; at += 2) {
                const uint16_t value = pattern == Pattern::kHalf ? half(rng) : special_half(rng);
                std::memcpy(data + at, &value, std::min<size_t>(2, bytes - at));
            }
            break;
    }
}

std::vector<std::pair<const char*, const char*>> Settings::environment() const {
    constexpr const char* kRoundings[] = {"half-even", "half-away", "down"};
    constexpr const char* kShadows[] = {"auto", "lazy", "full"};
    const auto named = [&](const char* value) { return is_worst_board() ? nullptr : value; };
    return {{"RKNNSIM_BOARD", is_worst_board() ? "worst" : nullptr},
            {"RKNNSIM_BIND", named(bind_leaves ? "leaves" : "cleans")},
            {"RKNNSIM_IMPORT_SYNC", named(import_sync_nothing ? "nothing" : "works")},
            {"RKNNSIM_RESULTS", named(results_synced ? "synced" : "visible")},
            {"RKNNSIM_DIRTY", named(dirty_overwrites ? "overwrites" : "harmless")},
            {"RKNNSIM_NON_CACHEABLE", named(non_cacheable_stale ? "stale" : "coherent")},
            {"RKNNSIM_QUANT", "zeros"},
            {"RKNNSIM_K_MAX", strict_limits ? "10240" : "32768"},
            {"RKNNSIM_N_MAX", strict_limits ? "8192" : "1048576"},
            {"RKNNSIM_M_MAX", strict_limits ? "2047" : "1048576"},
            {"RKNNSIM_CONTEXTS", "150"},
            {"RKNNSIM_MANY_CONTEXTS", contexts_fail ? "fail" : "warn"},
            {"RKNNSIM_CORE_MASK", cores_fall_back ? "auto" : "reject"},
            {"RKNNSIM_DYNAMIC_SHAPES", "rows"},
            {"RKNNSIM_NORMAL_A", normal_a_at_run ? "run" : "bind"},
            {"RKNNSIM_SHADOW", kShadows[static_cast<int>(shadow)]},
            {"RKNNSIM_CHECK", check ? "warn" : "off"},
            {"RKNNSIM_INT4_NORMAL_B", int4_normal_b ? "allow" : "reject"},
            {"RKNNSIM_INT4_INPUT", int4_bytes ? "bytes" : "nibbles"},
            {"RKNNSIM_INT4_SATURATE", saturate_segment ? "segment" : "run"},
            {"RKNNSIM_INT8_ROUND", kRoundings[rounding]},
            {"RKNNSIM_UNBOUND", unbound_zeros ? "zeros" : "fail"},
            {"RKNNSIM_REBIND_B", rebind_reject ? "reject" : "allow"},
            {"RKNNSIM_THREADS", serialise ? "serialise" : "strict"}};
}

void apply_edit(const Edit& edit, rknn_matmul_tensor_attr* attr) {
    const auto value = static_cast<uint32_t>(edit.value);
    switch (edit.field) {
        case Edit::kName:
            std::memset(attr->name, 0, sizeof attr->name);
            if (edit.value < 0) {  // no end
                std::memset(attr->name, 'A', sizeof attr->name);
            } else {
                attr->name[0] = static_cast<char>(edit.value);
            }
            break;
        case Edit::kDimCount:
            attr->n_dims = value;
            break;
        case Edit::kFirstDim:
            attr->dims[0] = value;
            break;
        case Edit::kLastDim:
            attr->dims[(attr->n_dims + 15) % 16] = value;
            break;
        case Edit::kSize:
            attr->size = value;
            break;
        case Edit::kType:
            attr->type = static_cast<rknn_tensor_type>(edit.value);
            break;
        default:
            break;  // fields of a rknn_tensor_mem
    }
}

}  // namespace rknnsim_random
