// SPDX-License-Identifier: MIT
// Functions for operations that call the host's own code (MAP_CUSTOM, CUSTOM).
//
// Those of MAP_CUSTOM want contiguous operands, those of CUSTOM any.
#pragma once

#include <cstdint>

#include "ggml.h"

namespace rknpu2::test {

void custom_half(ggml_tensor* out, const ggml_tensor* a, int ith, int nth, void* data);
void custom_mix(ggml_tensor* out, const ggml_tensor* a, const ggml_tensor* b, int ith, int nth, void* data);
void custom_mix3(ggml_tensor* out, const ggml_tensor* a, const ggml_tensor* b, const ggml_tensor* c, int ith,
                 int nth, void* data);

// Halves of all operands, summed.
void custom_sum(ggml_tensor* out, int ith, int nth, void* data);
// Writes its first operand, as no node says: the numbers of each row go one place to the left. The result is
// the second operand.
void custom_turn(ggml_tensor* out, int ith, int nth, void* data);
// In place: half of what is there, and a part of the operand that is as large as numbers of weights are.
void custom_blend(ggml_tensor* out, int ith, int nth, void* data);

// Multiplies each number by one near 1, normal around it by `size` of choose_shaking().
void custom_shake(ggml_tensor* out, const ggml_tensor* a, int ith, int nth, void* data);
// Which noise from here on. 4e-4: as both operands rounded to float16.
void choose_shaking(uint32_t seed, double size);

}  // namespace rknpu2::test
