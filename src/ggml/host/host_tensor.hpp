// SPDX-License-Identifier: MIT
// A tensor of ours for the host's functions: it has as many bytes as the host's own.
//
// ggml may be compiled with longer names (GGML_MAX_NAME), as stable-diffusion.cpp does. Then what follows the name lies
// further behind, and nothing else differs. Nobody here reads that: it is copied along, or zeros.
#pragma once

#include <cstring>

#include "ggml/host/imports.hpp"

namespace rknpu2 {

inline constexpr size_t kLongestName = 256;
inline constexpr size_t kBehindName = 16;  // `extra`, and padding

class HostTensor {
  public:
    HostTensor() : bytes_{} {}
    HostTensor(const GgmlFunctions& ggml, const ggml_tensor& original) {
        std::memcpy(bytes_, &original, ggml.tensor_bytes);
    }

    ggml_tensor* get() { return reinterpret_cast<ggml_tensor*>(bytes_); }
    ggml_tensor* operator->() { return get(); }

  private:
    alignas(ggml_tensor) std::byte bytes_[offsetof(ggml_tensor, name) + kLongestName + kBehindName];
};

}  // namespace rknpu2
