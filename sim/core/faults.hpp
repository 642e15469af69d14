// Failures on request: RKNNSIM_FAIL=<function>:<n>[:<code>][,...]
//
// The n-th call of that function (counted from 1, over the whole process) fails with the code, -1 unless
// given; functions that return memory return NULL. Example: rknn_matmul_run:5:-2,rknn_create_mem:1. A list
// that cannot be read, or that names no function of this library, is an error, and then every call fails.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/outcome.hpp"

namespace rknnsim {

class Faults {
  public:
    // `functions`: the names that may appear.
    static Outcome parse(const std::string& text, const std::vector<std::string>& functions, Faults* faults);

    // Counts a call; the code that it has to fail with, or kOk. Thread safe.
    int call(const char* function);

  private:
    struct Fault {
        std::string function;
        uint64_t call;
        int code;
    };
    std::vector<Fault> faults_;
    std::map<std::string, std::unique_ptr<std::atomic<uint64_t>>> calls_;  // of the functions in faults_
};

}  // namespace rknnsim
