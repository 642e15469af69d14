// SPDX-License-Identifier: MIT
// Our Status and ggml's ggml_status: each is mapped to the other here and nowhere else.
#pragma once

#include "base/status.hpp"
#include "ggml/api/tensors.hpp"

namespace rknpu2 {

// What a backend answers to its host.
inline ggml_status ggml_status_of(const Status& status) {
    switch (status.code()) {
        case StatusCode::kOk:
            return GGML_STATUS_SUCCESS;
        case StatusCode::kAborted:
            return GGML_STATUS_ABORTED;
        case StatusCode::kOutOfMemory:
            return GGML_STATUS_ALLOC_FAILED;
        default:
            return GGML_STATUS_FAILED;
    }
}

inline Status asked_to_stop() {
    return {StatusCode::kAborted, "the host asked to stop"};
}

// What the host's CPU backend answered when it computed `node`, or several of which it is the first.
inline Status status_of_cpu(ggml_status status, const ggml_tensor* node) {
    switch (status) {
        case GGML_STATUS_SUCCESS:
            return {};
        case GGML_STATUS_ABORTED:
            return asked_to_stop();
        case GGML_STATUS_ALLOC_FAILED:
            return {StatusCode::kOutOfMemory,
                    std::string("the host's CPU backend has no memory to compute ") + node->name};
        case GGML_STATUS_FAILED:
            break;
    }
    return {StatusCode::kInternal, std::string("the host's CPU backend could not compute ") + node->name};
}

}  // namespace rknpu2
