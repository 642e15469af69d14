// SPDX-License-Identifier: MIT
#include "ggml/host/abi.hpp"

#include <array>
#include <cstddef>

#include "ggml-backend-impl.h"
#include "ggml-impl.h"

namespace rknpu2 {
namespace {

// 0.25.1 and 0.25.3: ggml.h, ggml-backend.h, ggml-impl.h and ggml-backend-impl.h are identical, byte for
// byte. 0.25.2 lies between.
constexpr std::array kKnownVersions = {"0.25.1", "0.25.2", "0.25.3"};

static_assert(GGML_BACKEND_API_VERSION == 2);
static_assert(GGML_MAX_DIMS == 4 && GGML_MAX_SRC == 10);
static_assert(GGML_MAX_OP_PARAMS == 64);
static_assert(GGML_MAX_NAME == 64);
static_assert(sizeof(ggml_tensor) == 336);
static_assert(offsetof(ggml_tensor, buffer) == 8 && offsetof(ggml_tensor, ne) == 16 &&
              offsetof(ggml_tensor, nb) == 48);
static_assert(offsetof(ggml_tensor, op) == 80 && offsetof(ggml_tensor, flags) == 148);
static_assert(offsetof(ggml_tensor, src) == 152 && offsetof(ggml_tensor, view_src) == 232);
static_assert(offsetof(ggml_tensor, data) == 248 && offsetof(ggml_tensor, name) == 256);
static_assert(sizeof(ggml_cgraph) == 96 && offsetof(ggml_cgraph, nodes) == 16);
static_assert(sizeof(ggml_backend_buffer_i) == 88 && sizeof(ggml_backend_buffer) == 120);
static_assert(sizeof(ggml_backend_buffer_type_i) == 48 && sizeof(ggml_backend_buffer_type) == 64);
static_assert(sizeof(ggml_backend_i) == 128 && sizeof(ggml_backend) == 152);
static_assert(sizeof(ggml_backend_device_i) == 120 && sizeof(ggml_backend_device) == 136);
static_assert(sizeof(ggml_backend_reg_i) == 32 && sizeof(ggml_backend_reg) == 48);
static_assert(sizeof(ggml_backend_dev_props) == 56);

}  // namespace

bool is_known_ggml(const std::string& version) {
    for (const char* const known : kKnownVersions) {
        if (version == known) return true;
    }
    return false;
}

std::string known_ggml_versions() {
    std::string list;
    for (const char* const known : kKnownVersions)
        list += (list.empty() ? "" : ", ") + std::string(known);
    return list;
}

}  // namespace rknpu2
