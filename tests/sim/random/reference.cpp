// SPDX-License-Identifier: MIT
#include "sim/random/reference.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/format.hpp"
#include "matrix/float16.hpp"
#include "matrix/layout.hpp"

namespace rknnsim_random {
namespace {

using namespace rknpu2;  // NOLINT: the layout specification

double element(const uint8_t* data, DType type, size_t at) {
    if (type == DType::kInt4) return int4_get(data, at);
    if (type == DType::kInt8) return static_cast<int8_t>(data[at]);
    uint16_t half = 0;
    std::memcpy(&half, data + 2 * at, 2);
    return float16_to_float(half);
}

size_t index_of_b(const Operation& op, size_t k, size_t n) {
    if (op.b_layout == 0) return b_index_normal(k, n, op.N);
    if (op.b_layout == 2) return b_index_transposed(k, n, op.K);
    return b_index_native(k, n, op.K, op.N, input_of(op.type));
}

double clip(double value, double low, double high) {
    return std::min(std::max(value, low), high);
}

double rounded(double value, int rounding) {
    const double down = std::floor(value);
    if (rounding == 2 || value == down) return down;
    if (value - down != 0.5) return value - down < 0.5 ? down : down + 1;
    if (rounding == 1) return value < 0 ? down : down + 1;  // half away from 0
    return std::fmod(down, 2) == 0 ? down : down + 1;       // half to even
}

bool is_power_of_two(float value) {
    int exponent = 0;
    return std::frexp(value, &exponent) == 0.5F;
}

struct Interval {
    double low, high;
};

// The int8 result of type 3. Scales that are powers of two leave no doubt; with others, how the product was
// rounded in fp64 may decide on which side of a half it falls.
Interval requantised(const Operation& op, double sum) {
    const double scaled = sum * op.scales[0] * op.scales[1] / op.scales[2];
    const bool exact = std::all_of(op.scales, op.scales + 3, is_power_of_two);
    const double doubt = exact ? 0 : std::fabs(scaled) * 1e-14;
    const int rounding = op.settings.rounding;
    return {clip(rounded(scaled - doubt, rounding), -128, 127),
            clip(rounded(scaled + doubt, rounding), -128, 127)};
}

double as_type(double value, DType type) {
    const auto narrow = static_cast<float>(value);
    return type == DType::kFloat16 ? float16_to_float(float_to_float16(narrow)) : narrow;
}

Interval allowed(const Operation& op, const Sum& sum) {
    const DType type = output_of(op.type);
    switch (type) {
        case DType::kInt8:
            return requantised(op, sum.value);
        case DType::kInt16: {
            const double clipped = clip(sum.value, INT16_MIN, INT16_MAX);
            return {clipped, clipped};
        }
        case DType::kInt32:
            return {sum.value, sum.value};  // no allowed K leaves the range
        default:
            break;
    }
    if (!std::isfinite(sum.value)) return {sum.value, sum.value};
    const double slack = sum.magnitude * 0x1p-19;
    return {as_type(sum.value - slack, type), as_type(sum.value + slack, type)};
}

struct Element {
    double value;
    bool odd_nan;  // a NaN other than the one that is documented
};

Element result(const uint8_t* c, DType type, size_t at) {
    const uint8_t* from = c + dtype_bytes(type, at);
    const auto read = [&](auto value) {
        std::memcpy(&value, from, sizeof value);
        return value;
    };
    switch (type) {
        case DType::kInt8:
            return {static_cast<double>(read(int8_t{})), false};
        case DType::kInt16:
            return {static_cast<double>(read(int16_t{})), false};
        case DType::kInt32:
            return {static_cast<double>(read(int32_t{})), false};
        case DType::kFloat16: {
            const auto bits = read(uint16_t{});
            const double value = float16_to_float(bits);
            return {value, std::isnan(value) && bits != 0x7E00};
        }
        default: {
            const auto value = read(float{});
            return {value, std::isnan(value) && read(uint32_t{}) != 0x7FC00000};
        }
    }
}

}  // namespace

DType input_of(int type) {
    if (type == 10) return DType::kInt4;
    return type == 1 || type == 4 ? DType::kFloat16 : DType::kInt8;
}

DType output_of(int type) {
    switch (type) {
        case 2:
            return DType::kInt32;
        case 3:
            return DType::kInt8;
        case 4:
            return DType::kFloat16;
        case 10:
            return DType::kInt16;
        default:
            return DType::kFloat32;
    }
}

std::vector<Sum> multiply(const Operation& op) {
    const DType type = input_of(op.type);
    const bool segments = op.type == 10 && op.settings.saturate_segment;
    std::vector<Sum> sums(op.M * op.N);
    if (op.zero) return sums;
    std::vector<double> b(op.K * op.N);
    for (size_t k = 0; k < op.K; ++k) {
        for (size_t n = 0; n < op.N; ++n)
            b[k * op.N + n] = element(op.b, type, index_of_b(op, k, n));
    }
    for (size_t first = 0; first < op.K; first += segments ? kSegmentK : op.K) {
        for (size_t m = 0; m < op.M; ++m) {
            std::vector<Sum> row(op.N);
            for (size_t k = first; k < (segments ? std::min(op.K, first + kSegmentK) : op.K); ++k) {
                const size_t at =
                    op.ac_layout == 1 ? a_index_native(m, k, op.M, type) : a_index_normal(m, k, op.K);
                const double a = element(op.a, type, at);
                for (size_t n = 0; n < op.N; ++n) {
                    row[n].value += a * b[k * op.N + n];
                    row[n].magnitude += std::fabs(a * b[k * op.N + n]);
                }
            }
            for (size_t n = 0; n < op.N; ++n) {
                sums[m * op.N + n].value +=
                    segments ? clip(row[n].value, INT16_MIN, INT16_MAX) : row[n].value;
                sums[m * op.N + n].magnitude += row[n].magnitude;
            }
        }
    }
    return sums;
}

std::string compare(const Operation& op, const std::vector<Sum>& sums, const uint8_t* got,
                    const std::vector<uint8_t>& lost) {
    const DType type = output_of(op.type);
    const size_t width = rknpu2::dtype_bytes(type, 1);
    const auto is_lost = [&](size_t at) {
        return !lost.empty() && std::any_of(lost.begin() + static_cast<ptrdiff_t>(at * width),
                                            lost.begin() + static_cast<ptrdiff_t>((at + 1) * width),
                                            [](uint8_t byte) { return byte != 0; });
    };
    for (size_t m = 0; m < op.M; ++m) {
        for (size_t n = 0; n < op.N; ++n) {
            const size_t at =
                op.ac_layout == 1 ? c_index_native(m, n, op.M, type) : c_index_normal(m, n, op.N);
            if (is_lost(at)) continue;
            const Interval want = op.zero ? Interval{0, 0} : allowed(op, sums[m * op.N + n]);
            const Element have = result(got, type, at);
            const bool good = std::isnan(want.low) ? std::isnan(have.value) && !have.odd_nan
                                                   : have.value >= want.low && have.value <= want.high;
            if (good) continue;
            return format("C[%zu,%zu]: expected %.9g to %.9g, got %.9g%s", m, n, want.low, want.high,
                          have.value, have.odd_nan ? " with other bits" : "");
        }
    }
    return "";
}

}  // namespace rknnsim_random
