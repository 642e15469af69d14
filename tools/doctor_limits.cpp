// SPDX-License-Identifier: MIT
// The probes of how far the chip and its runtime go, and of what they take int4 for.
#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <memory>
#include <utility>
#include <vector>

#include "base/format.hpp"
#include "doctor_product.hpp"
#include "doctor_reading.hpp"
#include "matrix/float16.hpp"
#include "matrix/layout.hpp"

namespace rknpu2 {
namespace {

constexpr NpuArithmetic kInt8 = NpuArithmetic::kInt8;
constexpr NpuArithmetic kFp16 = NpuArithmetic::kFloat16;
constexpr auto kLongest = std::chrono::seconds(20);

// Values of whole rows of A and whole columns of B, small enough for exact sums in every type.
int row_value(size_t m) {
    return static_cast<int>(m % 5) + 1;
}
int column_value(size_t n) {
    return static_cast<int>(n % 7) - 3;
}

template <typename T>
T element(int value) {
    if constexpr (std::is_same_v<T, int8_t>) {
        return static_cast<int8_t>(value);
    } else {
        return float_to_float16(static_cast<float>(value));
    }
}

// An atom of A and a tile's column of B have one value each.
template <typename T>
void fill_operands(const SpeedShape& shape, NpuMemory& a, NpuMemory& b) {
    const DType type = operand_type(shape.arithmetic);
    const size_t atom = atom_elements(type);
    auto* const to_a = reinterpret_cast<T*>(a.data());
    auto* const to_b = reinterpret_cast<T*>(b.data());
    for (size_t m = 0; m < shape.M; ++m) {
        for (size_t k = 0; k < shape.K; k += atom)
            std::fill_n(to_a + a_index_native(m, k, shape.M, type), atom, element<T>(row_value(m)));
    }
    for (size_t n = 0; n < shape.N; ++n) {
        for (size_t k = 0; k < shape.K; k += kTileK)
            std::fill_n(to_b + b_index_native(k, n, shape.K, shape.N, type), kTileK,
                        element<T>(column_value(n)));
    }
}

template <typename T>
size_t wrong_results(const SpeedShape& shape, const NpuMemory& c) {
    const DType type = result_type(shape.arithmetic);
    const auto* const results = reinterpret_cast<const T*>(c.data());
    size_t wrong = 0;
    for (size_t m = 0; m < shape.M; ++m) {
        for (size_t n = 0; n < shape.N; ++n) {
            const auto expected = static_cast<T>(static_cast<int>(shape.K) * row_value(m) * column_value(n));
            if (results[c_index_native(m, n, shape.M, type)] != expected) ++wrong;
        }
    }
    return wrong;
}

// An error when the runtime refuses the shape or a result is wrong.
Status multiply(Bench& bench, const SpeedShape& shape) {
    Product product;
    RKNPU2_RETURN_IF_ERROR(product.make(bench.runtime, spec_of(shape)));
    RKNPU2_RETURN_IF_ERROR(product.allocate(0));
    const DType type = operand_type(shape.arithmetic);
    if (product.a->size() < dtype_bytes(type, shape.M * shape.K) ||
        product.b->size() < dtype_bytes(type, shape.K * shape.N) ||
        product.c->size() < dtype_bytes(result_type(shape.arithmetic), shape.M * shape.N))
        return {StatusCode::kDeviceError, "the runtime asks for less memory than the operands have"};
    const bool int8 = shape.arithmetic == kInt8;
    RKNPU2_RETURN_IF_ERROR(product.prepare(0, [&](NpuMemory& a, NpuMemory& b) {
        int8 ? fill_operands<int8_t>(shape, a, b) : fill_operands<uint16_t>(shape, a, b);
    }));
    RKNPU2_RETURN_IF_ERROR(product.run());
    const size_t wrong =
        int8 ? wrong_results<int32_t>(shape, *product.c) : wrong_results<float>(shape, *product.c);
    if (wrong == 0) return {};
    return {StatusCode::kDeviceError, format("%zu of %zu results wrong", wrong, shape.M * shape.N)};
}

// Goes up to the first shape that fails, those of one size together; `size` is what of it is told.
Status go_up(Bench& bench, Reading& reading, const std::vector<SpeedShape>& shapes, size_t SpeedShape::*size,
             const char* name) {
    size_t largest = 0;  // with which all shapes were right
    size_t here = 0;
    std::string end;
    for (const SpeedShape& shape : shapes) {
        if (shape.*size != here) largest = std::exchange(here, shape.*size);
        const Status status = multiply(bench, shape);
        if (status.code() == StatusCode::kTimeout) return status;
        if (!status.ok()) {
            end = format(", and at %zu %s", shape.*size, status.message().c_str());
            break;
        }
    }
    if (end.empty()) largest = here;
    reading.add(name, static_cast<double>(largest), "");
    reading.answer += format("%s%s to %zu%s", reading.answer.empty() ? "" : "; ", name, largest, end.c_str());
    return {};
}

size_t open_descriptors() {
    std::error_code error;
    const std::filesystem::directory_iterator entries("/proc/self/fd", error);
    return error ? 0 : static_cast<size_t>(std::distance(begin(entries), end(entries)));
}

// One more context with the operands of the first, run once.
Status add_context(Bench& bench, Product& first, const ContextSpec& spec,
                   std::vector<std::unique_ptr<NpuContext>>& alive) {
    Result<std::unique_ptr<NpuContext>> made = bench.runtime.create_context(spec);
    RKNPU2_RETURN_IF_ERROR(made.status());
    NpuContext& context = *made.value();
    RKNPU2_RETURN_IF_ERROR(context.select_rows(0));
    RKNPU2_RETURN_IF_ERROR(context.bind(Operand::kActivations, *first.a));
    RKNPU2_RETURN_IF_ERROR(context.bind(Operand::kWeights, *first.b));
    RKNPU2_RETURN_IF_ERROR(context.bind(Operand::kResult, *first.c));
    RKNPU2_RETURN_IF_ERROR(context.run());
    RKNPU2_RETURN_IF_ERROR(first.context->sync_from_device(*first.c));
    const auto* const result = reinterpret_cast<const int32_t*>(first.c->data());
    if (result[0] != static_cast<int32_t>(spec.K))
        return {StatusCode::kDeviceError, format("%d instead of %zu", result[0], spec.K)};
    alive.push_back(made.take());
    return {};
}

}  // namespace

Status probe_many_contexts(Bench& bench, Reading& reading) {
    const size_t most = bench.quick ? 200 : 1500;
    Product first;
    const ContextSpec spec{.K = 32, .N = 32, .rows = {1}};
    RKNPU2_RETURN_IF_ERROR(prepare_ones(bench.runtime, spec, first));
    std::vector<std::unique_ptr<NpuContext>> alive;
    const size_t descriptors = open_descriptors();
    const auto start = std::chrono::steady_clock::now();
    Status status;
    while (status.ok() && alive.size() + 1 < most && std::chrono::steady_clock::now() - start < kLongest)
        status = add_context(bench, first, spec, alive);
    const size_t count = alive.size() + 1;
    reading.add("contexts", static_cast<double>(count), "");
    if (!alive.empty()) {
        const double more = static_cast<double>(open_descriptors()) - static_cast<double>(descriptors);
        reading.add("descriptors for each", more / static_cast<double>(alive.size()), "");
    }
    // Those of before must go on working.
    const Status again = first.context->run();
    reading.answer = format("%zu", count);
    if (!status.ok()) {
        reading.answer += ", then: " + status.message();
    } else {
        reading.answer += count < most ? " in the time that there is, or more" : " or more";
    }
    if (!again.ok()) reading.answer += "; the first one fails then: " + again.message();
    return status.code() == StatusCode::kTimeout ? status : Status();
}

Status probe_many_rows(Bench& bench, Reading& reading) {
    for (const NpuArithmetic type : {kInt8, kFp16}) {
        std::vector<SpeedShape> shapes;
        for (const size_t M :
             {1, 2, 3, 4, 8, 16, 31, 32, 64, 96, 127, 128, 255, 256, 512, 1023, 1024, 2047, 2048})
            shapes.push_back({type, M, 64, 64, 1});
        RKNPU2_RETURN_IF_ERROR(
            go_up(bench, reading, shapes, &SpeedShape::M, type == kInt8 ? "int8" : "fp16"));
    }
    return {};
}

Status probe_wide_n(Bench& bench, Reading& reading) {
    for (const NpuArithmetic type : {kFp16, kInt8}) {  // int8 hung after wide fp16 for somebody
        const size_t K = bench.quick || type == kFp16 ? 64 : 1024;
        const size_t most = type == kInt8 ? 131072 : 32768;
        std::vector<SpeedShape> shapes;
        for (size_t N = 4096; N <= most; N *= 2) {
            shapes.push_back({type, 1, K, N, 1});
            shapes.push_back({type, 8, K, N, 1});
        }
        RKNPU2_RETURN_IF_ERROR(
            go_up(bench, reading, shapes, &SpeedShape::N, type == kInt8 ? "int8" : "fp16"));
    }
    // What the widest one takes, for the choice of the plug-in's tiles.
    const auto widest = static_cast<size_t>(reading.figures.back().value);
    for (const size_t M : {1, 8}) {
        if (widest == 0) break;
        const SpeedShape shape{kInt8, M, bench.quick ? size_t{64} : size_t{1024}, widest, 1};
        const Result<Speed> speed = measure_shape(bench, shape, bench.clock.simulated() ? 1 : 5, 1);
        RKNPU2_RETURN_IF_ERROR(speed.status().with_context(speed_text(shape)));
        reading.add(speed_text(shape), speed.value().run_us, "us");
    }
    return {};
}

Status probe_int4_input(Bench& bench, Reading& reading) {
    constexpr size_t K = 64;
    constexpr size_t N = 128;
    // A byte for each value; were they nibbles, the first half of the bytes would be all that is read.
    std::vector<int8_t> from(K * N);
    for (size_t i = 0; i < from.size(); ++i)
        from[i] = static_cast<int8_t>(static_cast<int>((i * 7 + i / N) % 16) - 8);
    std::vector<uint8_t> to(K * N);
    const Status status = bench.runtime.convert_weights(NpuArithmetic::kInt4, K, N, from.data(), to.data());
    if (status.code() == StatusCode::kUnsupported) {
        reading.answer = "not to be had here";
        return {};
    }
    RKNPU2_RETURN_IF_ERROR(status);
    size_t bytes = 0;
    size_t nibbles = 0;
    for (size_t i = 0; i < from.size(); ++i) {
        const int got = int4_get(to.data(), b_index_native(i / N, i % N, K, N, DType::kInt4));
        bytes += got == from[i] ? 1 : 0;
        nibbles += got == int4_get(reinterpret_cast<const uint8_t*>(from.data()), i) ? 1 : 0;
    }
    reading.add_count("as bytes", bytes, from.size());
    reading.add_count("as nibbles", nibbles, from.size());
    reading.answer = bytes == from.size()     ? "a byte for each value"
                     : nibbles == from.size() ? "two values in a byte"
                                              : "neither bytes nor nibbles";
    return {};
}

}  // namespace rknpu2
