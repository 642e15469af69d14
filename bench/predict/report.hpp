// SPDX-License-Identifier: MIT
// Predictions as text, CSV and JSON. Published figures of other engines stand beside the model's, with
// sources.
#pragma once

#include <string>
#include <vector>

#include "predict/prediction.hpp"
#include "predict/published.hpp"

namespace rknpu2 {

std::string predictions_text(const std::vector<Prediction>& predictions,
                             const std::vector<PublishedEngine>& engines);
std::string predictions_csv(const std::vector<Prediction>& predictions);
std::string predictions_json(const std::vector<Prediction>& predictions,
                             const std::vector<PublishedEngine>& engines);

}  // namespace rknpu2
