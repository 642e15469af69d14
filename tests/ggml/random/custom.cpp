// SPDX-License-Identifier: MIT
// The operands are contiguous. What the host's threads wrote and how they are woken, a sanitizer of threads
// does not see: the host is not instrumented.
#include "ggml/random/custom.hpp"

#include <algorithm>
#include <cstdint>

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

void choose_shaking(uint32_t seed, double size) {
    shaking_seed = seed;
    shaking_size = size;
}

void custom_shake(ggml_tensor* out, const ggml_tensor* a, int /*ith*/, int /*nth*/, void* /*data*/) {
    rknnsim_random::Rng random(shaking_seed);
    for (int64_t i = 0; i < elements_of(a); ++i) {
        double noise = -2;  // four uniform numbers
        for (int j = 0; j < 4; ++j)
            noise += double(random.bits() >> 11) * 0x1p-53;
        static_cast<float*>(out->data)[i] =
            static_cast<float>(element(a, i) * (1 + shaking_size * 1.732 * noise));
    }
}

}  // namespace rknpu2::test

// The host is not instrumented: what its threads copy by intercepted functions has no order that the
// sanitizer of threads could see.
extern "C" __attribute__((visibility("default"))) const char* __tsan_default_suppressions();
extern "C" const char* __tsan_default_suppressions() {
    return "called_from_lib:libggml-cpu.so\ncalled_from_lib:libggml-base.so\ncalled_from_lib:libgomp.so\n";
}
