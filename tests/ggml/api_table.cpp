// SPDX-License-Identifier: MIT
// Compiled twice: with our declarations, and with GGMLS_HEADERS.
#include "ggml/api_table.hpp"

#include <cstddef>

#ifdef GGMLS_HEADERS
#include "ggml-backend-impl.h"
#include "ggml-cpu.h"
#include "ggml-impl.h"
#define TABLE ggmls_api
constexpr size_t kTensorBytes = sizeof(ggml_tensor);
#else
#include "ggml/host/host_tensor.hpp"
#define TABLE our_api
constexpr size_t kTensorBytes = sizeof(ggml_tensor) + rknpu2::kBehindName;
#endif

namespace rknpu2::test {

std::vector<ApiFact> TABLE() {
    return {
#define PART(structure, field)                                                  \
    {#structure "." #field, static_cast<long long>(offsetof(structure, field)), \
     static_cast<long long>(sizeof(structure::field))},
#define FIELD(structure, field) \
    PART(structure, field){#structure, 0, static_cast<long long>(sizeof(structure))},
#define VALUE(constant) {#constant, static_cast<long long>(constant), 0},
#include "ggml/api_fields.inc"
#undef FIELD
#undef PART
#undef VALUE
    };
}

}  // namespace rknpu2::test
