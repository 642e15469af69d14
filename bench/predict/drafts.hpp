// SPDX-License-Identifier: MIT
// What drafting is worth: some tokens are guessed, one pass checks all of them, and those before the first wrong one are kept.
//
// A guess is right with a given probability, whatever was right before. Guesses are looked up, which takes no time, or made by a
// smaller model, token by token. The pass computes a row for each guess and one more.
#pragma once

#include <optional>

#include "predict/prediction.hpp"

namespace rknpu2 {

struct Drafting {
    Setting setting;
    int64_t context = 0;
    std::optional<Setting> draft;  // the smaller model; none: guesses are looked up
    double acceptance = 0;
    int64_t drafted = 0;  // guesses for a pass: as many, up to 15, as are fastest; 0: it does not pay
    double kept = 1;      // tokens of a pass, on average
    double tokens_per_second = 0;
    double times_without = 1;
};

// One for each acceptance.
std::vector<Drafting> draftings_of(const Setting& setting, const std::optional<Setting>& draft,
                                   int64_t context, const std::vector<double>& acceptances);

// Tokens of a pass with so many guesses: those that are kept, and one that the pass gives.
double kept_tokens(double acceptance, int64_t drafted);

std::string draftings_text(const std::vector<Drafting>& draftings);
std::string draftings_csv(const std::vector<Drafting>& draftings);
std::string draftings_json(const std::vector<Drafting>& draftings);

}  // namespace rknpu2
