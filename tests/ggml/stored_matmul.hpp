// SPDX-License-Identifier: MIT
// One multiplication by a weight that lies in a buffer of the plug-in, and what it should give.
#pragma once

#include <vector>

#include "ggml/ggml_host.hpp"
#include "support/random.hpp"

namespace rknpu2::test {

// Frees what a host's function made.
template <typename T>
using HostPtr = std::unique_ptr<T, void (*)(T*)>;

using BackendPtr = HostPtr<ggml_backend>;
using BufferPtr = HostPtr<ggml_backend_buffer>;
using ContextPtr = HostPtr<ggml_context>;

BackendPtr new_backend(GgmlHost& host);
// A buffer of the device for weights.
BufferPtr new_weight_buffer(GgmlHost& host, size_t bytes);

struct Shape {
    size_t M;
    size_t N;
    size_t K;
};

// out [M, N] = a [M, K] * weight [N, K] transposed. Activations and result lie in a buffer of the device,
// too.
class StoredMatmul {
  public:
    // The weight in a buffer of its own.
    StoredMatmul(GgmlHost& host, ggml_type type, const Shape& shape);
    // The weight at an offset of a buffer that the caller keeps alive.
    StoredMatmul(GgmlHost& host, ggml_type type, const Shape& shape, ggml_backend_buffer_t weights,
                 size_t offset);

    ggml_tensor* weight() { return weight_; }
    // As ggml_prec_set_acc() and ggml_prec_set_src() for the activations.
    void set_precisions(ggml_prec sums, ggml_prec activations);
    size_t weight_bytes() const { return host_.ggml.ggml_nbytes(weight_); }
    bool supported() const { return host_.ggml.ggml_backend_dev_supports_op(host_.device, result_); }

    void set_weight(const std::vector<uint8_t>& bytes);
    std::vector<uint8_t> weight_content() const;

    ggml_status compute(ggml_backend_t backend, const std::vector<float>& a, std::vector<float>& out);
    // compute() with fresh random activations, as relative error against float64; infinite if it fails.
    double error(ggml_backend_t backend, Random& random);

  private:
    void build(ggml_type type, ggml_backend_buffer_t weights, size_t offset);

    GgmlHost& host_;
    Shape shape_;
    ContextPtr weight_context_;
    ContextPtr context_;
    BufferPtr own_;
    BufferPtr buffer_;
    ggml_tensor* weight_ = nullptr;
    ggml_tensor* activations_ = nullptr;
    ggml_tensor* result_ = nullptr;
    ggml_cgraph* graph_ = nullptr;
};

std::vector<float> random_floats(Random& random, size_t count);
// Random rows in the bytes of `type`, by the host's own conversion where that is quick.
std::vector<uint8_t> random_weight(GgmlHost& host, ggml_type type, size_t N, size_t K, Random& random);
// Frobenius norm of the difference from float64 arithmetic on the dequantised weight over that of the result.
double relative_error(GgmlHost& host, ggml_type type, const Shape& shape, const std::vector<uint8_t>& weight,
                      const std::vector<float>& a, const std::vector<float>& out);

}  // namespace rknpu2::test
