// SPDX-License-Identifier: MIT
// A product on the simulator, through a librknnrt.so opened by path, and the same product by the bare
// kernels.
//
// Library opens its own copy of the file, so that several simulators with different settings live in one
// process and can be measured in turn. T "cores" are T contexts on T threads, with the columns split between
// them.
#pragma once

#include <rknn_matmul_api.h>

#include <barrier>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/kernels/tier.hpp"
#include "system/threads.hpp"

namespace rknpu2_bench {

struct Shape {
    int M, K, N;
};

// T - 1 threads beside the caller's; run() calls body(0) .. body(T-1) at once and waits for all.
class Team {
  public:
    explicit Team(int size);
    ~Team();
    Team(const Team&) = delete;
    Team& operator=(const Team&) = delete;
    int size() const { return static_cast<int>(threads_.size()) + 1; }
    void run(const std::function<void(int)>& body);

  private:
    std::barrier<> start_, end_;
    const std::function<void(int)>* body_ = nullptr;
    rknpu2::ThreadTeam threads_;
};

class Library {
  public:
    // `settings`: RKNNSIM_ variables for this copy. Exits with a message when the file cannot be used.
    Library(const std::string& path, const std::vector<std::pair<std::string, std::string>>& settings);
    ~Library();
    Library(const Library&) = delete;
    Library& operator=(const Library&) = delete;

    decltype(&rknn_matmul_create) create;
    decltype(&rknn_matmul_set_io_mem) bind;
    decltype(&rknn_matmul_run) run;
    decltype(&rknn_matmul_destroy) destroy;
    decltype(&rknn_create_mem) create_mem;
    decltype(&rknn_destroy_mem) destroy_mem;
    decltype(&rknn_mem_sync) sync;
    std::string kernel;  // of the simulator; empty for another library

  private:
    template <typename Function>
    void find(const char* name, Function* function);
    void* handle_;
};

// All operands native, random.
class Product {
  public:
    virtual ~Product() = default;
    virtual void compute() = 0;
};
std::unique_ptr<Product> make_product(const Library& library, rknn_matmul_type type, Shape shape, Team& team);
std::unique_ptr<Product> make_bare_product(const rknnsim::KernelTier& tier, rknn_matmul_type type,
                                           Shape shape, Team& team);

// Part `index` of `parts` of N columns, in units of 64.
std::pair<int, int> part_of(int N, int index, int parts);

}  // namespace rknpu2_bench
