// SPDX-License-Identifier: MIT
// A host's types. Their numbers are those of GGUF files, in every release.
#pragma once

#include <cstring>

#include "ggml/host/imports.hpp"
#include "gguf/tensor_types.hpp"

namespace rknpu2 {

// What the host knows of a type. Null for a number that is no type, none that we know, or another type there. A
// host's table has no end that could be asked for: what stands behind the end of an older one is not the type's
// sizes and name.
inline const ggml_type_traits* traits_of(const GgmlFunctions& ggml, uint32_t number) {
    const GgmlType* const type = find_ggml_type(number);
    if (type == nullptr) return nullptr;
    const ggml_type_traits* const traits = ggml.ggml_get_type_traits(static_cast<ggml_type>(number));
    const bool is_it = traits->blck_size == type->block && traits->type_size == type->bytes &&
                       std::strcmp(traits->type_name, type->name) == 0;
    return is_it ? traits : nullptr;
}

}  // namespace rknpu2
