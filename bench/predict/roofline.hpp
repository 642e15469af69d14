// A roofline plot as SVG: what the NPU and the memory allow, and where each model's multiplications and whole
// passes stand. Both axes are logarithmic; x is operations (two for each multiply-add) a byte of memory
// traffic.
#pragma once

#include <string>
#include <vector>

#include "predict/prediction.hpp"

namespace rknpu2 {

std::string roofline_svg(const std::vector<Prediction>& predictions);

}  // namespace rknpu2
