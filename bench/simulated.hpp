// SPDX-License-Identifier: MIT
// A product on the simulator, through a librknnrt.so opened by path, and the same product by the bare
// kernels.
//
// Library opens its own copy of the file, so that several simulators with different settings live in one
// process and can be measured in turn. T "cores" are T contexts on T threads, with the columns split between
// them.
#pragma once

#include <rknn_matmul_api.h>

#include <functional>
#include <string>

#include "core/kernels/tier.hpp"
#include "system/thread_pool.hpp"

namespace rknpu2_bench {

struct Shape {
    int M, K, N;
};

class Library {
  public:
    // `check`: RKNNSIM_CHECK for this copy. Exits with a message when the file cannot be used.
    Library(const std::string& path, const char* check);
    ~Library();
    Library(const Library&) = delete;
    Library& operator=(const Library&) = delete;

    std::string kernel() const;  // of the simulator; empty for another library

    // The function of that name and type; null, for another library, if it has none.
    template <typename Function>
    Function* find(const char* name) const {
        return reinterpret_cast<Function*>(symbol(name));
    }

  private:
    void* symbol(const char* name) const;
    void* handle_;
};

// One call is one product, of random operands in native layout, on all threads of `pool`. The pool and the library
// outlive it.
std::function<void()> simulated_product(const Library& library, rknn_matmul_type type, Shape shape,
                                        rknpu2::ThreadPool& pool);
std::function<void()> bare_product(const rknnsim::KernelTier& tier, rknn_matmul_type type, Shape shape,
                                   rknpu2::ThreadPool& pool);

}  // namespace rknpu2_bench
