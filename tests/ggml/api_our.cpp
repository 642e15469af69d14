// SPDX-License-Identifier: MIT
#include "ggml/api/backends.hpp"

#include <cstddef>

#include "ggml/api_table.hpp"

namespace rknpu2::test {

std::vector<ApiFact> our_api() {
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
