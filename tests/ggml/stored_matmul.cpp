// SPDX-License-Identifier: MIT
#include "ggml/stored_matmul.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

namespace rknpu2::test {
namespace {

ContextPtr new_context(GgmlHost& host) {
    const ggml_init_params parameters = {
        8 * host.ggml.ggml_tensor_overhead() + host.ggml.ggml_graph_overhead(), nullptr, true};
    return {host.ggml.ggml_init(parameters), host.ggml.ggml_free};
}

// The conversion to these takes ggml half a minute of preparation.
bool is_slow_to_make(ggml_type type) {
    return type == GGML_TYPE_IQ1_S || type == GGML_TYPE_IQ1_M || type == GGML_TYPE_IQ2_XXS ||
           type == GGML_TYPE_IQ2_XS || type == GGML_TYPE_IQ2_S;
}

// Random bytes, block by block, that mean numbers of a usual size.
void random_blocks(GgmlHost& host, ggml_type type, std::vector<uint8_t>& bytes, Random& random) {
    const auto elements = static_cast<size_t>(host.ggml.ggml_blck_size(type));
    const size_t block = host.ggml.ggml_row_size(type, static_cast<int64_t>(elements));
    const ggml_to_float_t to_float = host.ggml.ggml_get_type_traits(type)->to_float;
    std::vector<float> values(elements);
    for (size_t at = 0; at < bytes.size(); at += block) {
        float largest = 0.0F;
        do {
            for (size_t i = 0; i < block; ++i)
                bytes[at + i] = static_cast<uint8_t>(random.bits());
            to_float(bytes.data() + at, values.data(), static_cast<int64_t>(elements));
            largest = std::transform_reduce(
                values.begin(), values.end(), 0.0F, [](float a, float b) { return std::max(a, b); },
                [](float value) { return std::isfinite(value) ? std::abs(value) : 1e9F; });
        } while (largest < 0.1F || largest > 10.0F);
    }
}

}  // namespace

BackendPtr new_backend(GgmlHost& host) {
    BackendPtr backend(host.ggml.ggml_backend_dev_init(host.device, nullptr), host.ggml.ggml_backend_free);
    EXPECT_NE(backend, nullptr);
    return backend;
}

BufferPtr new_weight_buffer(GgmlHost& host, size_t bytes) {
    BufferPtr buffer(
        host.ggml.ggml_backend_buft_alloc_buffer(host.ggml.ggml_backend_dev_buffer_type(host.device), bytes),
        host.ggml.ggml_backend_buffer_free);
    EXPECT_NE(buffer, nullptr);
    host.ggml.ggml_backend_buffer_set_usage(buffer.get(), GGML_BACKEND_BUFFER_USAGE_WEIGHTS);
    return buffer;
}

StoredMatmul::StoredMatmul(GgmlHost& host, ggml_type type, const Shape& shape)
    : host_(host),
      shape_(shape),
      weight_context_(new_context(host)),
      context_(new_context(host)),
      own_(new_weight_buffer(host, host.ggml.ggml_row_size(type, static_cast<int64_t>(shape.K)) * shape.N)),
      buffer_(nullptr, host.ggml.ggml_backend_buffer_free) {
    build(type, own_.get(), 0);
}

StoredMatmul::StoredMatmul(GgmlHost& host, ggml_type type, const Shape& shape, ggml_backend_buffer_t weights,
                           size_t offset)
    : host_(host),
      shape_(shape),
      weight_context_(new_context(host)),
      context_(new_context(host)),
      own_(nullptr, host.ggml.ggml_backend_buffer_free),
      buffer_(nullptr, host.ggml.ggml_backend_buffer_free) {
    build(type, weights, offset);
}

void StoredMatmul::build(ggml_type type, ggml_backend_buffer_t weights, size_t offset) {
    const HostFunctions& ggml = host_.ggml;
    const auto K = static_cast<int64_t>(shape_.K);
    weight_ = ggml.ggml_new_tensor_2d(weight_context_.get(), type, K, static_cast<int64_t>(shape_.N));
    ggml.ggml_set_name(weight_, "weight");
    auto* const base = static_cast<char*>(ggml.ggml_backend_buffer_get_base(weights));
    EXPECT_EQ(ggml.ggml_backend_tensor_alloc(weights, weight_, base + offset), GGML_STATUS_SUCCESS);
    activations_ = ggml.ggml_new_tensor_2d(context_.get(), GGML_TYPE_F32, K, static_cast<int64_t>(shape_.M));
    result_ = ggml.ggml_mul_mat(context_.get(), weight_, activations_);
    graph_ = ggml.ggml_new_graph(context_.get());
    ggml.ggml_build_forward_expand(graph_, result_);
    buffer_.reset(ggml.ggml_backend_alloc_ctx_tensors_from_buft(
        context_.get(), ggml.ggml_backend_dev_buffer_type(host_.device)));
    EXPECT_NE(buffer_, nullptr);
}

void StoredMatmul::set_precisions(ggml_prec sums, ggml_prec activations) {
    EXPECT_TRUE(host_.ggml.ggml_prec_set_acc(result_, sums));
    EXPECT_TRUE(host_.ggml.ggml_prec_set_src(result_, activations, 1));
}

void StoredMatmul::set_weight(const std::vector<uint8_t>& bytes) {
    ASSERT_EQ(bytes.size(), weight_bytes());
    host_.ggml.ggml_backend_tensor_set(weight_, bytes.data(), 0, bytes.size());
}

std::vector<uint8_t> StoredMatmul::weight_content() const {
    std::vector<uint8_t> bytes(weight_bytes());
    host_.ggml.ggml_backend_tensor_get(weight_, bytes.data(), 0, bytes.size());
    return bytes;
}

ggml_status StoredMatmul::compute(ggml_backend_t backend, const std::vector<float>& a,
                                  std::vector<float>& out) {
    out.assign(shape_.M * shape_.N, std::numeric_limits<float>::quiet_NaN());
    host_.ggml.ggml_backend_tensor_set(activations_, a.data(), 0, a.size() * sizeof(float));
    host_.ggml.ggml_backend_tensor_set(result_, out.data(), 0, out.size() * sizeof(float));
    const ggml_status status = host_.ggml.ggml_backend_graph_compute(backend, graph_);
    host_.ggml.ggml_backend_tensor_get(result_, out.data(), 0, out.size() * sizeof(float));
    return status;
}

double StoredMatmul::error(ggml_backend_t backend, Random& random) {
    const std::vector<float> a = random_floats(random, shape_.M * shape_.K);
    std::vector<float> out;
    if (compute(backend, a, out) != GGML_STATUS_SUCCESS) return std::numeric_limits<double>::infinity();
    return relative_error(host_, weight_->type, shape_, weight_content(), a, out);
}

std::vector<float> random_floats(Random& random, size_t count) {
    std::vector<float> values(count);
    for (float& value : values)
        value = random.normal();
    return values;
}

std::vector<uint8_t> random_weight(GgmlHost& host, ggml_type type, size_t N, size_t K, Random& random) {
    const HostFunctions& ggml = host.ggml;
    const auto columns = static_cast<int64_t>(K);
    std::vector<uint8_t> bytes(ggml.ggml_row_size(type, columns) * N);
    if (is_slow_to_make(type)) {
        random_blocks(host, type, bytes, random);
        return bytes;
    }
    const std::vector<float> values = random_floats(random, N * K);
    std::vector<float> importance;
    if (ggml.ggml_quantize_requires_imatrix(type)) importance.assign(K, 1.0F);
    const size_t written =
        ggml.ggml_quantize_chunk(type, values.data(), bytes.data(), 0, static_cast<int64_t>(N), columns,
                                 importance.empty() ? nullptr : importance.data());
    EXPECT_EQ(written, bytes.size());
    return bytes;
}

double relative_error(GgmlHost& host, ggml_type type, const Shape& shape, const std::vector<uint8_t>& weight,
                      const std::vector<float>& a, const std::vector<float>& out) {
    const auto [M, N, K] = shape;
    const size_t row_bytes = weight.size() / N;
    const ggml_to_float_t to_float = host.ggml.ggml_get_type_traits(type)->to_float;
    std::vector<float> row(K);
    double difference = 0;
    double total = 0;
    for (size_t n = 0; n < N; ++n) {
        const uint8_t* const bytes = weight.data() + n * row_bytes;
        if (type == GGML_TYPE_F32) {
            std::memcpy(row.data(), bytes, row_bytes);
        } else {
            to_float(bytes, row.data(), static_cast<int64_t>(K));
        }
        for (size_t m = 0; m < M; ++m) {
            double sum = 0;
            for (size_t k = 0; k < K; ++k)
                sum += static_cast<double>(a[m * K + k]) * row[k];
            const double off = out[m * N + n] - sum;
            difference += off * off;
            total += sum * sum;
        }
    }
    return std::sqrt(difference / total);
}

}  // namespace rknpu2::test
