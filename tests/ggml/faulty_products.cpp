// SPDX-License-Identifier: MIT
#include "ggml/faulty_products.hpp"

#include <gtest/gtest.h>

#include <cstdlib>

namespace rknpu2::test {

std::vector<FaultyProduct> multiply_under_faults(const std::string& faults, const std::string& on_error,
                                                 ggml_type type, const Shape& shape, int rounds) {
    setenv("RKNNSIM_FAULTS", faults.c_str(), 1);
    setenv("GGML_RKNPU2_ON_ERROR", on_error.c_str(), 1);
    const auto host = GgmlHost::open_with_device();
    std::vector<FaultyProduct> products;
    if (!host) return products;
    Random random;
    {
        const BackendPtr backend = new_backend(*host);
        StoredMatmul matmul(*host, type, shape);
        matmul.set_weight(random_weight(*host, type, shape.N, shape.K, random));
        host->take_lines();
        for (int round = 0; round < rounds; ++round) {
            const std::vector<float> a = random_floats(random, shape.M * shape.K);
            FaultyProduct product;
            product.computed = matmul.compute(backend.get(), a, product.out) == GGML_STATUS_SUCCESS;
            product.lines = host->take_lines();
            if (product.computed) {
                product.error = relative_error(*host, type, shape, matmul.weight_content(), a, product.out);
            } else {
                product.out.clear();
            }
            products.push_back(std::move(product));
        }
    }
    EXPECT_EQ(simulator_counts().memories, 0U);
    EXPECT_EQ(simulator_counts().contexts, 0U);
    return products;
}

}  // namespace rknpu2::test
