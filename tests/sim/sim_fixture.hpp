// SPDX-License-Identifier: MIT
// What the simulator's tests share: a fixture that resets the library around each test and expects nothing to
// be left alive, a context with its three buffers, random operands, and a multiplication in 25 obvious lines.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "api/rknn_abi.h"
#include "api/rknnsim.h"
#include "matrix/float16.hpp"
#include "matrix/layout.hpp"

namespace rknnsim_test {

using rknpu2::DType;

enum Type { kF16F32 = 1, kI8I32 = 2, kI8I8 = 3, kF16F16 = 4, kI4I16 = 10 };
enum BLayout { kBNormal = 0, kBNative = 1, kBTransposed = 2 };

inline DType input_of(int type) {
    return type == kI4I16                       ? DType::kInt4
           : type == kF16F32 || type == kF16F16 ? DType::kFloat16
                                                : DType::kInt8;
}
inline DType output_of(int type) {
    switch (type) {
        case kF16F32:
            return DType::kFloat32;
        case kI8I32:
            return DType::kInt32;
        case kI8I8:
            return DType::kInt8;
        case kF16F16:
            return DType::kFloat16;
        default:
            return DType::kInt16;
    }
}

struct Shape {
    int M, K, N;
};

inline rknn_matmul_info info_of(int type, Shape shape, int b_layout = kBNative, int ac_layout = 1,
                                int domain = 0) {
    rknn_matmul_info info{};
    info.M = shape.M;
    info.K = shape.K;
    info.N = shape.N;
    info.type = type;
    info.B_layout = static_cast<int16_t>(b_layout);
    info.AC_layout = static_cast<int16_t>(ac_layout);
    info.iommu_domain_id = domain;
    return info;
}

// Logical operands: element values, row-major A [M,K], B [K,N].
struct Operands {
    std::vector<float> a;
    std::vector<float> b;
};

inline Operands random_operands(int type, Shape shape, unsigned seed) {
    std::mt19937 random(seed);
    const DType input = input_of(type);
    const auto value = [&]() -> float {
        if (input == DType::kInt4) return static_cast<float>(static_cast<int>(random() % 16) - 8);
        if (input == DType::kInt8) return static_cast<float>(static_cast<int>(random() % 256) - 128);
        const float x = static_cast<float>(static_cast<int>(random() % 2001) - 1000) / 512.0F;
        return rknpu2::float16_to_float(rknpu2::float_to_float16(x));
    };
    Operands operands;
    operands.a.resize(static_cast<size_t>(shape.M) * shape.K);
    operands.b.resize(static_cast<size_t>(shape.K) * shape.N);
    for (float& x : operands.a)
        x = value();
    for (float& x : operands.b)
        x = value();
    return operands;
}

// The expected C, row-major: integers exact, floats accumulated in double.
inline std::vector<double> expected(const Operands& operands, Shape shape) {
    std::vector<double> c(static_cast<size_t>(shape.M) * shape.N);
    for (int m = 0; m < shape.M; ++m) {
        for (int n = 0; n < shape.N; ++n) {
            double sum = 0;
            for (int k = 0; k < shape.K; ++k) {
                const double a = operands.a[static_cast<size_t>(m) * shape.K + k];
                sum += a * operands.b[static_cast<size_t>(k) * shape.N + n];
            }
            c[static_cast<size_t>(m) * shape.N + n] = sum;
        }
    }
    return c;
}

inline void put(void* data, DType type, size_t index, float value) {
    if (type == DType::kInt4) {
        rknpu2::int4_set(static_cast<uint8_t*>(data), index, static_cast<int>(value));
    } else if (type == DType::kInt8) {
        static_cast<int8_t*>(data)[index] = static_cast<int8_t>(value);
    } else {
        static_cast<uint16_t*>(data)[index] = rknpu2::float_to_float16(value);
    }
}

inline double get(const void* data, DType type, size_t index) {
    switch (type) {
        case DType::kInt8:
            return static_cast<const int8_t*>(data)[index];
        case DType::kInt16:
            return static_cast<const int16_t*>(data)[index];
        case DType::kInt32:
            return static_cast<const int32_t*>(data)[index];
        case DType::kFloat16:
            return rknpu2::float16_to_float(static_cast<const uint16_t*>(data)[index]);
        default:
            return static_cast<const float*>(data)[index];
    }
}

inline std::byte* data_of(const rknn_tensor_mem* mem) {
    return static_cast<std::byte*>(mem->virt_addr) + mem->offset;
}

// A context with its own buffers; everything is destroyed with it.
class Matmul {
  public:
    Matmul(int type, Shape shape, int b_layout = kBNative, int ac_layout = 1, int domain = 0)
        : type_(type), shape_(shape), b_layout_(b_layout), ac_layout_(ac_layout) {
        info_ = info_of(type, shape, b_layout, ac_layout, domain);
        created_ = rknn_matmul_create(&ctx_, &info_, &attr_);
        if (created_ != 0) return;
        a_ = rknn_create_mem(ctx_, attr_.A.size);
        b_ = rknn_create_mem(ctx_, attr_.B.size);
        c_ = rknn_create_mem(ctx_, attr_.C.size);
    }
    ~Matmul() {
        if (created_ != 0) return;
        for (rknn_tensor_mem* mem : {a_, b_, c_}) {
            if (mem == nullptr) continue;
            EXPECT_EQ(rknn_destroy_mem(ctx_, mem), 0);
        }
        EXPECT_EQ(rknn_matmul_destroy(ctx_), 0);
    }
    Matmul(const Matmul&) = delete;
    Matmul& operator=(const Matmul&) = delete;

    int created() const { return created_; }
    rknn_matmul_ctx ctx() const { return ctx_; }
    rknn_matmul_io_attr& attr() { return attr_; }
    rknn_tensor_mem* a() const { return a_; }
    rknn_tensor_mem* b() const { return b_; }
    rknn_tensor_mem* c() const { return c_; }

    void write_a(const std::vector<float>& values) {
        const DType type = input_of(type_);
        for (size_t m = 0; m < M(); ++m) {
            for (size_t k = 0; k < K(); ++k) {
                const size_t at = ac_layout_ == 1 ? rknpu2::a_index_native(m, k, M(), type)
                                                  : rknpu2::a_index_normal(m, k, K());
                put(data_of(a_), type, at, values[m * K() + k]);
            }
        }
    }
    void write_b(const std::vector<float>& values) {
        const DType type = input_of(type_);
        for (size_t k = 0; k < K(); ++k) {
            for (size_t n = 0; n < N(); ++n) {
                const size_t at = b_layout_ == kBNative   ? rknpu2::b_index_native(k, n, K(), N(), type)
                                  : b_layout_ == kBNormal ? rknpu2::b_index_normal(k, n, N())
                                                          : rknpu2::b_index_transposed(k, n, K());
                put(data_of(b_), type, at, values[k * N() + n]);
            }
        }
    }
    std::vector<double> read_c() const {
        const DType type = output_of(type_);
        std::vector<double> c(M() * N());
        for (size_t m = 0; m < M(); ++m) {
            for (size_t n = 0; n < N(); ++n) {
                const size_t at = ac_layout_ == 1 ? rknpu2::c_index_native(m, n, M(), type)
                                                  : rknpu2::c_index_normal(m, n, N());
                c[m * N() + n] = get(data_of(c_), type, at);
            }
        }
        return c;
    }

    int bind_a() { return rknn_matmul_set_io_mem(ctx_, a_, &attr_.A); }
    int bind_b() { return rknn_matmul_set_io_mem(ctx_, b_, &attr_.B); }
    int bind_c() { return rknn_matmul_set_io_mem(ctx_, c_, &attr_.C); }
    int run() { return rknn_matmul_run(ctx_); }

    // The device sees what the CPU has stored; the CPU sees what the device has.
    int clean(rknn_tensor_mem* mem) const { return rknn_mem_sync(ctx_, mem, RKNN_MEMORY_SYNC_TO_DEVICE); }
    int fetch(rknn_tensor_mem* mem) const { return rknn_mem_sync(ctx_, mem, RKNN_MEMORY_SYNC_FROM_DEVICE); }

    // Writes, binds, runs, reads: right on every board.
    std::vector<double> compute(const Operands& operands) {
        EXPECT_EQ(created_, 0);
        write_a(operands.a);
        write_b(operands.b);
        EXPECT_EQ(bind_a(), 0);
        EXPECT_EQ(bind_b(), 0);
        EXPECT_EQ(bind_c(), 0);
        EXPECT_EQ(clean(a_) | clean(b_), 0);
        EXPECT_EQ(run(), 0);
        EXPECT_EQ(fetch(c_), 0);
        return read_c();
    }

  private:
    size_t M() const { return static_cast<size_t>(shape_.M); }
    size_t K() const { return static_cast<size_t>(shape_.K); }
    size_t N() const { return static_cast<size_t>(shape_.N); }

    int type_;
    Shape shape_;
    int b_layout_;
    int ac_layout_;
    rknn_matmul_info info_{};
    rknn_matmul_io_attr attr_{};
    rknn_matmul_ctx ctx_ = 0;
    int created_ = -1;
    rknn_tensor_mem* a_ = nullptr;
    rknn_tensor_mem* b_ = nullptr;
    rknn_tensor_mem* c_ = nullptr;
};

class SimTest : public ::testing::Test {
  protected:
    void SetUp() override { ASSERT_EQ(rknnsim_reset(), 0); }
    void TearDown() override {
        rknnsim_live_counts live{};
        if (rknnsim_live(&live) == 0) {
            EXPECT_EQ(live.contexts, 0U);
            EXPECT_EQ(live.memories, 0U);
            EXPECT_EQ(live.bytes, 0U);
        }
        for (const auto& [name, value] : changed_)
            value.has_value() ? setenv(name.c_str(), value->c_str(), 1) : unsetenv(name.c_str());
        EXPECT_EQ(rknnsim_reset(), 0);
    }

    // Sets a RKNNSIM_ setting for the rest of the test.
    void set(const char* name, const std::string& value) {
        const char* before = std::getenv(name);
        changed_.emplace(name, before == nullptr ? std::nullopt : std::optional<std::string>(before));
        setenv(name, value.c_str(), 1);
        ASSERT_EQ(rknnsim_reset(), 0);
    }

    // For a test of what only the default board does: whatever board the others run on (RKNNSIM_BOARD).
    void on_default_board() { set("RKNNSIM_BOARD", "default"); }

    // What `body` wrote to stderr.
    template <typename Body>
    static std::string stderr_of(Body&& body) {
        ::testing::internal::CaptureStderr();
        body();
        return ::testing::internal::GetCapturedStderr();
    }

  private:
    std::map<std::string, std::optional<std::string>> changed_;  // and what they were
};

// Two products of one shape.
class TwoProductsTest : public SimTest {
  protected:
    static constexpr Shape kShape{3, 96, 64};
    const Operands first_ = random_operands(kI8I32, kShape, 1);
    const Operands second_ = random_operands(kI8I32, kShape, 2);
    // A of one, B of the other.
    static std::vector<double> product(const Operands& a, const Operands& b) {
        return expected({a.a, b.b}, kShape);
    }
};

}  // namespace rknnsim_test
