// SPDX-License-Identifier: MIT
// What the host's threads wrote and how they are woken, a sanitizer of threads
// does not see: the host is not instrumented.
#include "ggml/random/custom.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "sim/random/rng.hpp"

namespace rknpu2::test {
namespace {

uint32_t shaking_seed = 0;
double shaking_size = 0;

int64_t elements_of(const ggml_tensor* tensor) {
    return tensor->ne[0] * tensor->ne[1] * tensor->ne[2] * tensor->ne[3];
}

__attribute__((no_sanitize("thread"))) float element(const ggml_tensor* tensor, int64_t i) {
    return static_cast<const float*>(tensor->data)[i];
}

// Row i of the tensor's rows.
__attribute__((no_sanitize("thread"))) float* row_of(const ggml_tensor* tensor, int64_t i) {
    const int64_t plane = i / tensor->ne[1];
    const size_t offset = static_cast<size_t>(i % tensor->ne[1]) * tensor->nb[1] +
                          static_cast<size_t>(plane % tensor->ne[2]) * tensor->nb[2] +
                          static_cast<size_t>(plane / tensor->ne[2]) * tensor->nb[3];
    return reinterpret_cast<float*>(static_cast<char*>(tensor->data) + offset);
}

__attribute__((no_sanitize("thread"))) float number(const float* row, const ggml_tensor* tensor, int64_t i) {
    return row[i * static_cast<int64_t>(tensor->nb[0] / sizeof(float))];
}

int64_t rows_of(const ggml_tensor* tensor) {
    return tensor->ne[1] * tensor->ne[2] * tensor->ne[3];
}

}  // namespace

__attribute__((no_sanitize("thread"))) void custom_half(ggml_tensor* out, const ggml_tensor* a, int ith,
                                                        int nth, void* /*data*/) {
    const int64_t part = (elements_of(a) + nth - 1) / nth;
    const int64_t end = std::min(elements_of(a), part * (ith + 1));
    for (int64_t i = part * ith; i < end; ++i)
        static_cast<float*>(out->data)[i] = 0.5F * element(a, i) + 0.25F;
}

__attribute__((no_sanitize("thread"))) void custom_mix(ggml_tensor* out, const ggml_tensor* a,
                                                       const ggml_tensor* b, int /*ith*/, int /*nth*/,
                                                       void* /*data*/) {
    const int64_t count = elements_of(a);
    for (int64_t i = 0; i < count; ++i)
        static_cast<float*>(out->data)[i] = 0.5F * element(a, i) - 0.5F * element(b, count - 1 - i);
}

__attribute__((no_sanitize("thread"))) void custom_mix3(ggml_tensor* out, const ggml_tensor* a,
                                                        const ggml_tensor* b, const ggml_tensor* c,
                                                        int /*ith*/, int /*nth*/, void* /*data*/) {
    for (int64_t i = 0; i < elements_of(a); ++i)
        static_cast<float*>(out->data)[i] = element(a, i) + 0.5F * element(b, i) - 0.5F * element(c, i);
}

__attribute__((no_sanitize("thread"))) void custom_sum(ggml_tensor* out, int ith, int nth, void* /*data*/) {
    for (int64_t row = ith; row < rows_of(out); row += nth) {
        float* const to = row_of(out, row);
        for (int64_t i = 0; i < out->ne[0]; ++i)  // the library's functions would be instrumented
            to[i] = 0.125F;
        for (const ggml_tensor* const source : out->src) {
            if (source == nullptr) continue;
            const float* const from = row_of(source, row);
            for (int64_t i = 0; i < out->ne[0]; ++i)
                to[i] += 0.5F * number(from, source, i);
        }
    }
}

__attribute__((no_sanitize("thread"))) void custom_turn(ggml_tensor* out, int ith, int /*nth*/,
                                                        void* /*data*/) {
    if (ith != 0) return;
    const ggml_tensor* const written = out->src[0];
    for (int64_t i = 0; i < rows_of(written); ++i) {
        float* const row = row_of(written, i);
        const float first = row[0];
        for (int64_t k = 1; k < written->ne[0]; ++k)
            row[k - 1] = row[k];
        row[written->ne[0] - 1] = first;
    }
    for (int64_t row = 0; row < rows_of(out); ++row) {
        const float* const from = row_of(out->src[1], row);
        for (int64_t i = 0; i < out->ne[0]; ++i)
            row_of(out, row)[i] = number(from, out->src[1], i);
    }
}

__attribute__((no_sanitize("thread"))) void custom_blend(ggml_tensor* out, int ith, int nth, void* /*data*/) {
    const float part = 0.5F / std::sqrt(static_cast<float>(out->ne[0]));
    for (int64_t row = ith; row < rows_of(out); row += nth) {
        float* const to = row_of(out, row);
        const float* const from = row_of(out->src[1], row);
        for (int64_t i = 0; i < out->ne[0]; ++i)
            to[i] = 0.5F * to[i] + part * number(from, out->src[1], i);
    }
}

void choose_shaking(uint32_t seed, double size) {
    shaking_seed = seed;
    shaking_size = size;
}

void custom_shake(ggml_tensor* out, const ggml_tensor* a, int /*ith*/, int /*nth*/, void* /*data*/) {
    rknnsim_random::Rng random(shaking_seed);
    const auto noise = [&] {
        double sum = -2;  // of four uniform numbers
        for (int j = 0; j < 4; ++j)
            sum += double(random.bits() >> 11) * 0x1p-53;
        return sum * 1.732 * shaking_size;
    };
    // A weight that was rounded errs alike in every row.
    std::vector<double> of_columns(static_cast<size_t>(a->ne[0]));
    std::generate(of_columns.begin(), of_columns.end(), noise);
    for (int64_t i = 0; i < elements_of(a); ++i) {
        const double of_column = of_columns[static_cast<size_t>(i % a->ne[0])];
        static_cast<float*>(out->data)[i] = static_cast<float>(element(a, i) * (1 + of_column + noise()));
    }
}

}  // namespace rknpu2::test

// The host is not instrumented: what its threads copy by intercepted functions has no order that the
// sanitizer of threads could see.
extern "C" __attribute__((visibility("default"))) const char* __tsan_default_suppressions();
extern "C" const char* __tsan_default_suppressions() {
    return "called_from_lib:libggml-cpu.so\ncalled_from_lib:libggml-base.so\ncalled_from_lib:libgomp.so\n";
}
