// Functions for operations that call the host's own code (MAP_CUSTOM).
#pragma once

#include "ggml.h"

namespace rknpu2::test {

void custom_half(ggml_tensor* out, const ggml_tensor* a, int ith, int nth, void* data);
void custom_mix(ggml_tensor* out, const ggml_tensor* a, const ggml_tensor* b, int ith, int nth, void* data);
void custom_mix3(ggml_tensor* out, const ggml_tensor* a, const ggml_tensor* b, const ggml_tensor* c, int ith,
                 int nth, void* data);

}  // namespace rknpu2::test
