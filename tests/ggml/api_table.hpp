// SPDX-License-Identifier: MIT
// Two views of ggml's structures as numbers: ours, and that of ggml's own headers. One program cannot include both.
#pragma once

#include <string>
#include <vector>

namespace rknpu2::test {

struct ApiFact {
    std::string name;  // "ggml_tensor.ne": byte where it begins, and bytes that it takes
    long long value = 0;
    long long bytes = 0;
    friend bool operator==(const ApiFact&, const ApiFact&) = default;
};

std::vector<ApiFact> our_api();
std::vector<ApiFact> ggmls_api();

}  // namespace rknpu2::test
