// SPDX-License-Identifier: MIT
// One matmul context: a Problem, the shape in force, what is bound to A, B and C, and the run itself.
//
// Binding an operand in normal layout takes a snapshot, converted to native form: later stores to the buffer
// are not seen until it is bound again. Binding native A or B makes the device see what is in the buffer now;
// from then on it sees only what is cleaned (device_view.hpp). B beyond a size (Settings::shadow_b_bytes) is
// only marked: the device reads the CPU's memory, and binding costs nothing.
//
// Not thread safe: callers hold a Use. A second thread that finds the context in use gets an error, unless
// RKNNSIM_THREADS lets it wait.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "base/aligned_buffer.hpp"
#include "core/faults.hpp"
#include "core/kernels/tier.hpp"
#include "core/observer.hpp"
#include "core/problem.hpp"

namespace rknnsim {

// What is bound to one operand, for observers.
struct BoundOperand {
    Operand which = Operand::kA;
    std::shared_ptr<Memory> memory;  // null when nothing is bound, or it was destroyed
    size_t bytes = 0;
    bool fits = false;          // bound for the shape that is in force: there are bytes for all of it
    bool converted = false;     // binding has copied the data out of a normal layout
    uint64_t source = 0;        // fingerprint of what was copied
    bool taken_by_run = false;  // copied once more by each run
    bool shadowed = false;      // the device has a copy of its own: it can be compared
    bool unwritten = false;     // nobody had stored to the memory when it was bound
    bool whole = false;         // `source` looked at every byte
};

class Context {
  public:
    Context(Problem problem, uint64_t handle, const Settings& settings);

    const Problem& problem() const { return problem_; }
    uint64_t handle() const { return handle_; }
    pid_t process() const { return process_; }  // that made it

    // Exclusive use of a context for the duration of a call; empty when another thread has it.
    using Use = std::unique_lock<std::mutex>;
    Use use();

    Outcome select_shape(const RequestedShape& shape);

    // `attr` is the caller's copy of an operand's description.
    Outcome bind(const OperandDesc& attr, const std::shared_ptr<Memory>& memory);

    // Does binding the operand copy it out of a normal layout?
    bool converts(Operand which) const;

    // How many scales and zero points the operand takes; to be asked before they are read.
    Outcome check_quant_counts(Operand which, int64_t scales, int64_t zero_points) const;
    // `scales` and `zero_points` as the caller gave them.
    Outcome set_quant(Operand which, const std::vector<float>& scales, const std::vector<int>& zero_points);
    Outcome check_get_quant(Operand which) const;

    // The number of the context, its type and its shape in force: what a message needs.
    std::string name() const;

    // M in force; 0 before one was selected.
    size_t rows() const { return M_; }

    // How much of K is the program's own, the rest being padding; 0: not said.
    void declare_k(size_t k) { declared_k_ = k; }
    size_t declared_k() const { return declared_k_; }

    BoundOperand bound(Operand which) const;

    // 1, 2, 4, or 0 for whichever core is free.
    void set_core_mask(int mask) { core_mask_ = mask; }

    // `faults` are asked once the run is known to be legal. `event` is what observers are to be told; it
    // stays empty unless the run was submitted.
    Outcome run(const KernelTier& tier, ScratchPool& pool, Faults& faults, std::optional<RunEvent>* event);
    // How many results of the last run were clipped to 16 bits.
    uint64_t clipped() const { return clipped_; }

    // Multiply-accumulate operations of one run in the current shape.
    uint64_t macs() const { return static_cast<uint64_t>(M_) * problem_.K * problem_.N; }

  private:
    struct Binding {
        bool bound = false;
        bool snapshot_taken = false;
        bool shadowed = false;   // the device view has a copy of it
        bool unwritten = false;  // nobody had stored to the memory
        Shape shape{};
        size_t bytes = 0;
        uint64_t source = 0;
        std::weak_ptr<Memory> memory;
        rknpu2::AlignedBuffer snapshot;
    };

    Shape shape() const { return {M_, problem_.K, problem_.N}; }
    // Was it bound for the shape that is in force, as far as that is the operand's?
    bool fits(Operand which) const;
    Binding& binding(Operand which) { return bindings_[static_cast<size_t>(which)]; }
    const Binding& binding(Operand which) const { return bindings_[static_cast<size_t>(which)]; }
    Outcome check_attr(const OperandDesc& attr) const;
    Outcome check_memory(const OperandDesc& attr, const Memory& memory) const;
    Outcome take(const OperandDesc& attr, const Memory& memory, Binding* target) const;
    Outcome snapshot(const OperandDesc& attr, const std::byte* from, Binding* target) const;
    Outcome find_bound(Operand which, std::shared_ptr<Memory>* memory);
    Outcome compute(const KernelTier& tier, Scratch& scratch, const Memory* a, const Memory* b,
                    const Memory& c);
    bool multiply(const KernelTier& tier, Scratch& scratch, const Job& job, const Memory* b) const;

    Problem problem_;
    const uint64_t handle_;
    const Settings& settings_;
    const pid_t process_ = process_id();
    std::mutex mutex_;
    size_t M_ = 0;  // 0: no shape selected yet
    Binding bindings_[3];
    double scales_[3] = {1.0, 1.0, 1.0};
    int core_mask_ = 0;
    size_t declared_k_ = 0;
    uint64_t clipped_ = 0;
};

}  // namespace rknnsim
