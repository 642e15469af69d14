// SPDX-License-Identifier: MIT
// What a plain weight's numbers become: the precision says, and what was found of its activations. The plug-in asks,
// and rknpu2-info.
#pragma once

#include "calibration/stats_library.hpp"

namespace rknpu2 {

// With `compact`, four bits where the budget asks for them, else eight as with `balanced`; planes by their choice.
Recipe recipe_of_weight(Precision precision, const std::optional<StatsLibrary::Found>& found,
                        bool float_activations = false);

}  // namespace rknpu2
