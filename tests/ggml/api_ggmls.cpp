// SPDX-License-Identifier: MIT
#include <cstddef>

#include "ggml-backend-impl.h"
#include "ggml-cpu.h"
#include "ggml-impl.h"
#include "ggml/api_table.hpp"

namespace rknpu2::test {

std::vector<ApiFact> ggmls_api() {
    return {
#define FIELD(structure, field)                                                 \
    {#structure "." #field, static_cast<long long>(offsetof(structure, field)), \
     static_cast<long long>(sizeof(structure::field))},                         \
        {#structure, 0, static_cast<long long>(sizeof(structure))},
#define VALUE(constant) {#constant, static_cast<long long>(constant), 0},
#include "ggml/api_fields.inc"
#undef FIELD
#undef VALUE
    };
}

}  // namespace rknpu2::test
