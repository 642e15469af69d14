// SPDX-License-Identifier: MIT
// Which cases the self test has.
#include <array>

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

// Types and layouts that the chip has and the plug-in does not use.
struct Mode {
    NpuArithmetic arithmetic;
    Layout ac_layout, b_layout;
};

std::vector<Mode> other_modes() {
    std::vector<Mode> modes;
    for (const NpuArithmetic type : {NpuArithmetic::kInt8, NpuArithmetic::kFloat16, NpuArithmetic::kInt4,
                                     NpuArithmetic::kInt8Narrow, NpuArithmetic::kFloat16Narrow}) {
        const bool plugin = type == NpuArithmetic::kInt8 || type == NpuArithmetic::kFloat16;
        for (const Layout b : {Layout::kNative, Layout::kNormal, Layout::kTransposed}) {
            if (type == NpuArithmetic::kInt4 && b != Layout::kNative) continue;
            if (type == NpuArithmetic::kInt8Narrow && b == Layout::kTransposed) continue;
            for (const Layout ac : {Layout::kNative, Layout::kNormal}) {
                if (!(plugin && ac == Layout::kNative && b == Layout::kNative))
                    modes.push_back({type, ac, b});
            }
        }
    }
    return modes;
}

// The classes of shapes: one, few and many rows, a multiple of nothing; K and N as small as can be, odd
// multiples of that, and large.
void add_other_cases(const Mode& mode, bool quick, std::vector<SelfTestCase>& cases) {
    const NpuArithmetic type = mode.arithmetic;
    const size_t group = kernel_group(operand_type(type));
    const auto add = [&](const char* what, size_t M, size_t K, size_t N) {
        cases.push_back({what, type, M, K, N, mode.ac_layout, mode.b_layout});
        cases.back().use = Use::kOther;
    };
    add("smallest", 1, 32, group);
    add("odd rows, odd groups", 7, 96, 3 * group);
    add("several tiles of rows", quick ? 61 : 131, quick ? 544 : 736, 5 * group);
    if (!quick) {
        add("one row", 1, 2048, 1088);
        add("largest K", 2, rk3588::kMaxK, group);
        add("two segments of K", 3, rk3588::kMaxK + 1024, 2 * group);
        add("widest N", 2, 64, 4096);
    }
    if (operand_type(type) != DType::kFloat16) return;
    add("fractions", quick ? 5 : 67, quick ? 288 : 1056, 3 * group);
    cases.back().integers = false;
}

}  // namespace

std::vector<SelfTestCase> self_test_cases(bool quick) {
    std::vector<SelfTestCase> cases;
    for (const NpuArithmetic type : {NpuArithmetic::kInt8, NpuArithmetic::kFloat16})
        add_plugin_cases(type, quick, cases);
    for (const auto& [M, K, N] :
         {std::array<size_t, 3>{1, 4096, 512}, std::array<size_t, 3>{64, 1024, 256}}) {
        cases.push_back({"fractions", NpuArithmetic::kFloat16, M, K, N});
        cases.back().integers = false;
    }
    for (const Mode& mode : other_modes())
        add_other_cases(mode, quick, cases);
    return cases;
}

}  // namespace rknpu2
