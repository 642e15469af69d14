// SPDX-License-Identifier: MIT
#include "kernels/pack.hpp"

#include <array>
#include <cstring>
#include <numeric>

#include "kernels/lanes/generic.hpp"
#include "kernels/scale.hpp"
#include "matrix/layout.hpp"

namespace rknpu2 {

double rounding_error_int8(const float* row, size_t K, float scale, const float* values) {
    const float factor = storing_factor(scale);
    if (factor == 0.0F) return 0;
    std::array<double, kPartialSums> sums{};
    generic::add_rounding_errors_int8(row, K, scale, factor, values, sums.data());
    return std::accumulate(sums.begin(), sums.end(), 0.0);
}

template <typename Element>
void zero_kernels(size_t n_begin, size_t n_end, size_t K_padded, size_t N_padded, Element* native) {
    for (size_t n = n_begin; n < n_end; ++n) {
        for (size_t k = 0; k < K_padded; k += kTileK) {
            std::memset(native + b_index_native(k, n, K_padded, N_padded, dtype_of<Element>()), 0,
                        kTileK * sizeof(Element));
        }
    }
}
template void zero_kernels(size_t, size_t, size_t, size_t, int8_t*);
template void zero_kernels(size_t, size_t, size_t, size_t, uint16_t*);

}  // namespace rknpu2
