// SPDX-License-Identifier: MIT
// Functions for operations that call the host's own code (MAP_CUSTOM).
#pragma once

#include <cstdint>

#include "ggml.h"

namespace rknpu2::test {

void custom_half(ggml_tensor* out, const ggml_tensor* a, int ith, int nth, void* data);
void custom_mix(ggml_tensor* out, const ggml_tensor* a, const ggml_tensor* b, int ith, int nth, void* data);
void custom_mix3(ggml_tensor* out, const ggml_tensor* a, const ggml_tensor* b, const ggml_tensor* c, int ith,
                 int nth, void* data);

// Multiplies each number by one near 1, normal around it by `size` of choose_shaking().
void custom_shake(ggml_tensor* out, const ggml_tensor* a, int ith, int nth, void* data);
// Which noise from here on. 4e-4: as both operands rounded to float16.
void choose_shaking(uint32_t seed, double size);

}  // namespace rknpu2::test
