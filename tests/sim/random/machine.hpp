// SPDX-License-Identifier: MIT
// The slots of a running program, and one call of the library for each step.
//
// Different steps of one section touch different slots, so that lanes may run on threads of their own.
#pragma once

#include <vector>

#include "sim/random/model.hpp"
#include "sim/random/program.hpp"

namespace rknnsim_random {

class Machine {
  public:
    explicit Machine(const Program& program);
    ~Machine();
    Machine(const Machine&) = delete;
    Machine& operator=(const Machine&) = delete;

    Outcome perform(const Step& step);

    // Destroys what is alive: memories first, each with a context of its domain. Empty, or what went wrong.
    std::string destroy_all();

  private:
    struct ContextSlot {
        rknn_matmul_ctx handle = 0;
        bool live = false;
        int domain = 0;
        std::vector<rknn_matmul_io_attr> attrs;
        const uint8_t* c = nullptr;  // as bound
        size_t c_bytes = 0;
    };
    struct MemorySlot {
        rknn_tensor_mem* mem = nullptr;  // kept when it was destroyed, to be used once more
        rknn_tensor_mem copy{};          // as it was given out
        bool live = false;
        int domain = 0;
    };

    rknn_matmul_ctx handle(int slot) const;
    rknn_tensor_mem* pointer(int slot);
    uint8_t* data(int slot) const;  // nullptr unless alive

    Outcome create(const Step& step);
    Outcome bind(const Step& step);
    Outcome quant(const Step& step);
    Outcome run(const Step& step);
    Outcome collide(const Step& step);
    Outcome convert(const Step& step);
    Outcome query(const Step& step);
    Outcome create_memory(const Step& step);
    rknn_tensor_mem* import(const Step& step);
    Outcome use_memory(const Step& step);
    Outcome touch(const Step& step);  // a step of the program itself
    void read_c(const ContextSlot& context, Outcome* outcome) const;

    // What the device sees of what the outcome has of the CPU's side, at `from`.
    void look(const uint8_t* from, Outcome* outcome) const;

    const bool follows_lines_;
    std::vector<ContextSlot> contexts_;
    std::vector<MemorySlot> memories_;
    rknn_tensor_mem stranger_{};  // stands for a memory the library does not know

    struct Mapping {
        void* address = nullptr;
        size_t size = 0;
        int fd = -1;
    };
    std::vector<Mapping> mappings_;  // of duplicated descriptors, one for each memory slot
};

}  // namespace rknnsim_random
