// SPDX-License-Identifier: MIT
#include "calibration/weight_recipe.hpp"

#include <algorithm>

namespace rknpu2 {

Recipe recipe_of_weight(Precision precision, const std::optional<StatsLibrary::Found>& found,
                        bool float_activations) {
    Recipe recipe = recipe_of(precision, float_activations);
    const bool keeps_eight_bits = !found || found->bits.bits == 8;
    if (recipe.arithmetic == NpuArithmetic::kInt4 && keeps_eight_bits)
        recipe = recipe_of(Precision::kBalanced);
    if (recipe.arithmetic == NpuArithmetic::kInt8 && recipe.rotate && found)
        recipe.planes = std::min(recipe.planes, found->planes.planes);
    return recipe;
}

}  // namespace rknpu2
