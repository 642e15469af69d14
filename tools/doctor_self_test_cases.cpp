// SPDX-License-Identifier: MIT
// Which cases the self test has.
#include "doctor_self_test.hpp"
#include "matrix/layout.hpp"
#include "soc/rk3588.hpp"

namespace rknpu2 {
namespace {

// Native on all sides, and in all the ways that the plug-in uses memory.
void add_plugin_cases(NpuArithmetic type, bool quick, std::vector<SelfTestCase>& cases) {
    const size_t group = kernel_group(operand_type(type));
    const auto pick = [quick](size_t small, size_t large) { return quick ? small : large; };
    cases.push_back({"smallest", type, 1, 32, group});
    cases.push_back({"one row", type, 1, 576, 1536});
    cases.push_back({"odd rows, odd groups", type, 7, 96, 3 * group});
    cases.push_back({"several tiles of rows", type, pick(73, 307), pick(2048, 1024), 256});
    cases.push_back({"largest K", type, 2, rk3588::kMaxK, pick(group, 256)});
    cases.push_back({"widest N", type, 2, pick(64, 1024), rk3588::kDocumentedN});
    for (int core = 1; core < rk3588::kCores; ++core) {
        cases.push_back({"another core", type, 4, 256, 128});
        cases.back().core = core;
    }
    cases.push_back({"slices of other memory", type, 5, 512, 320});
    cases.back().binding = Binding::kSlices;
    cases.push_back({"fewer rows than before", type, 3, 512, 320});
    cases.back().binding = Binding::kRows;
    cases.push_back({"another IOMMU domain", type, 4, 256, 128});
    cases.back().domain = 1;
    cases.back().use = Use::kLargeModels;
}

// A type and layout that the chip has and the plug-in does not use, in all classes of shapes: one, few and
// many rows, a multiple of nothing; K and N as small as can be, odd multiples of that, and large.
void add_other_cases(NpuArithmetic type, Layout ac, Layout b, bool quick, std::vector<SelfTestCase>& cases) {
    const size_t group = kernel_group(operand_type(type));
    const auto pick = [quick](size_t small, size_t large) { return quick ? small : large; };
    const auto add = [&](const char* what, size_t M, size_t K, size_t N, bool integers = true) {
        cases.push_back({what, type, M, K, N, ac, b, 0, 0, Binding::kOwn, integers, Use::kOther});
    };
    add("smallest", 1, 32, group);
    add("odd rows, odd groups", 7, 96, 3 * group);
    add("several tiles of rows", pick(61, 131), pick(544, 736), 5 * group);
    if (!quick) {
        add("one row", 1, 2048, 1088);
        add("largest K", 2, rk3588::kMaxK, group);
        add("two segments of K", 3, rk3588::kMaxK + 1024, 2 * group);
        add("widest N", 2, 64, 4096);
    }
    if (operand_type(type) == DType::kFloat16)
        add("fractions", pick(5, 67), pick(288, 1056), 3 * group, false);
}

}  // namespace

std::vector<SelfTestCase> self_test_cases(bool quick) {
    using enum NpuArithmetic;
    std::vector<SelfTestCase> cases;
    for (const NpuArithmetic type : {kInt8, kFloat16})
        add_plugin_cases(type, quick, cases);
    cases.push_back({"fractions", kFloat16, 1, 4096, 512});
    cases.back().integers = false;
    cases.push_back({"fractions", kFloat16, 64, 1024, 256});
    cases.back().integers = false;
    for (const NpuArithmetic type : {kInt8, kFloat16, kInt4, kInt8Narrow, kFloat16Narrow}) {
        for (const Layout b : {Layout::kNative, Layout::kNormal, Layout::kTransposed}) {
            if (type == kInt4 && b != Layout::kNative) continue;
            if (type == kInt8Narrow && b == Layout::kTransposed) continue;
            const bool plugin = b == Layout::kNative && (type == kInt8 || type == kFloat16);
            if (!plugin) add_other_cases(type, Layout::kNative, b, quick, cases);
            add_other_cases(type, Layout::kNormal, b, quick, cases);
        }
    }
    return cases;
}

}  // namespace rknpu2
