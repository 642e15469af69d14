// Which cases the self test has, and what its results say as lines of the report.
#include <array>

#include "base/format.hpp"
#include "doctor_self_test.hpp"
#include "matrix/layout.hpp"
#include "soc/rk3588.hpp"

namespace rknpu2 {
namespace {

constexpr NpuArithmetic kBoth[] = {NpuArithmetic::kInt8, NpuArithmetic::kFloat16};

SelfTestCase make(const char* what, NpuArithmetic arithmetic, size_t M, size_t K, size_t N) {
    SelfTestCase test;
    test.what = what;
    test.arithmetic = arithmetic;
    test.M = M;
    test.K = K;
    test.N = N;
    return test;
}

}  // namespace

std::vector<SelfTestCase> self_test_cases(bool quick) {
    std::vector<SelfTestCase> cases;
    for (const NpuArithmetic type : kBoth) {
        const size_t group = kernel_group(operand_type(type));
        cases.push_back(make("smallest", type, 1, 32, group));
        cases.push_back(make("one row", type, 1, 576, 1536));
        cases.push_back(make("odd rows, odd groups", type, 7, 96, 3 * group));
        cases.push_back(make("several tiles of rows", type, quick ? 72 : 300, quick ? 2048 : 1024, 256));
        cases.push_back(make("largest K", type, 2, rk3588::kMaxK, quick ? group : 256));
        cases.push_back(make("widest N", type, 2, quick ? 64 : 1024, 4096));
        for (int core = 1; core < rk3588::kCores; ++core) {
            cases.push_back(make("another core", type, 4, 256, 128));
            cases.back().core = core;
        }
        cases.push_back(make("slices of other memory", type, 5, 512, 320));
        cases.back().binding = Binding::kSlices;
        cases.push_back(make("fewer rows than before", type, 3, 512, 320));
        cases.back().binding = Binding::kRows;
        cases.push_back(make("another IOMMU domain", type, 4, 256, 128));
        cases.back().domain = 1;
        cases.back().needed = false;
    }
    for (const auto& [M, K, N] :
         {std::array<size_t, 3>{1, 4096, 512}, std::array<size_t, 3>{64, 1024, 256}}) {
        cases.push_back(make("fractions", NpuArithmetic::kFloat16, M, K, N));
        cases.back().integers = false;
    }
    return cases;
}

Check check_of(const SelfTestResult& result) {
    const SelfTestCase& test = result.test;
    const char* const type = test.arithmetic == NpuArithmetic::kInt8 ? "int8" : "fp16";
    const size_t total = test.M * test.N;
    Check check;
    check.id = format("self_test.%s.%zux%zux%zu", type, test.M, test.K, test.N);
    if (test.core != 0) check.id += format(".core%d", test.core);
    if (test.domain != 0) check.id += format(".domain%d", test.domain);
    check.title = format("%s %s", type, test.what.c_str());
    const std::string shape = format("%zux%zux%zu on core %d", test.M, test.K, test.N, test.core);
    if (!result.ran && result.error.starts_with("left out")) {
        check.health = Health::kSkipped;
        check.found = shape + ": " + result.error;
        return check;
    }
    if (result.passed()) {
        check.found = shape + ": " + (test.integers ? "every bit right" : "within rounding");
        if (!test.integers)
            check.found += format(" (%.2f of what is allowed; %zu of %zu as the simulator adds)",
                                  result.worst, result.as_simulator, total);
        return check;
    }
    check.health = test.needed ? Health::kProblem : Health::kWarning;
    if (!result.ran) {
        check.found = shape + ": " + result.error;
    } else {
        check.found = format("%s: %zu of %zu results wrong", shape.c_str(), result.wrong, total);
        if (result.first)
            check.found += format(", first at row %zu column %zu: %.9g instead of %.9g", result.first->m,
                                  result.first->n, result.first->got, result.first->expected);
    }
    check.advice = test.needed
                       ? "do not use the NPU until this is understood: report it with this report's file"
                       : "models whose packed weights exceed 4 GiB will not work; driver 0.9.8 is needed";
    return check;
}

}  // namespace rknpu2
