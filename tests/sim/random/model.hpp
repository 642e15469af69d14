// SPDX-License-Identifier: MIT
// What a correct runtime would do with a program: which calls it refuses, what the device sees of every byte,
// and what each run computes. Written from docs/simulator.md and the vendor's documented interface; it shares
// nothing with the simulator but the layout formulas and the C header.
//
// The model is total: it has an answer for every step, legal or not, so that a program stays a test whatever
// steps are added or taken away. Without data (for planning) it follows only what is alive and bound.
//
// A buffer has two copies here: what the CPU stored and what the device sees. Binding a native input and
// synchronising to the device copy from the one to the other; a run writes both. Where the settings ask for
// the CPU's cache, model_cache.cpp says what happens instead, line by line.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "sim/random/program.hpp"
#include "sim/random/reference.hpp"

namespace rknnsim_random {

// What the library gave back for one step.
struct Outcome {
    int code = 0;           // of calls that return memory: 0, or -1 for NULL
    uint64_t handle = 0;    // of a new context
    rknn_tensor_mem mem{};  // a copy of a new memory
    std::vector<rknn_matmul_io_attr> attrs;
    std::vector<uint8_t> bytes;  // C after a run or after it was bound; all of a memory that was inspected
    float scale = 0;
    uint64_t done = 0;            // runs of a collision that succeeded
    size_t messages = 0;          // of the checker, during the call
    size_t stale = 0;             // of these, about inputs that the device has not seen
    size_t import_syncs = 0;      // about syncs of imports
    size_t dirty_results = 0;     // about lines of C that the CPU has written
    bool complete = false;        // are these counts of this call alone?
    std::vector<uint8_t> device;  // as `bytes`, on the device's side; only where the cache is followed
};

struct Expect {
    bool ok = true;
    int code = 0;  // of a refusal; 0: any error
    const char* why = "";
    bool unsure = false;  // both answers are fine
};

// How many scales an operand takes.
int64_t quant_count(const rknn_matmul_info& info, int operand);

struct Allocation {
    int domain = 0;
    uint64_t size = 0;  // as asked for
    bool cached = true;
    uint64_t iova = 0;
    std::vector<uint8_t> cpu;
    std::vector<uint8_t> device;
    std::vector<uint8_t> computed;  // 1 where a run has written
    std::vector<uint8_t> seen;      // what the CPU had when the line was last clean
    std::vector<uint8_t> hidden;    // 1 where the CPU does not see a result

    uint64_t pages() const { return (size + 4095) / 4096 * 4096; }
};

struct Memory {
    bool live = false;
    bool edited = false;
    bool by_address = false;  // has no descriptor
    bool imported = false;
    std::shared_ptr<Allocation> allocation;
    uint64_t offset = 0;
    uint64_t size = 0;
    int ctx = kNone;  // that it was made with
};

struct Binding {
    bool bound = false;
    int M = 0;
    int mem = kNone;
    uint64_t size = 0;
    bool converted = false;
    std::vector<uint8_t> bytes;  // when converted
};

struct Context {
    bool live = false;
    bool dynamic = false;
    rknn_matmul_info info{};
    std::vector<int> rows;
    int M = 0;  // 0: none was selected
    Binding bindings[3];
    float scales[3] = {1, 1, 1};

    bool computes_zero() const { return info.B_quant_type != 0; }
    bool converts(int operand) const;
};

// Buffers above this size are never written to and have no copies here.
inline constexpr uint64_t kMaxData = uint64_t{16} << 20;
inline constexpr int kContextLimit = 150;
inline constexpr uint64_t kDomainBytes = uint64_t{4} << 30;

// Names, dimensions and sizes as the vendor's header documents them.
rknn_matmul_tensor_attr attr_of(const rknn_matmul_info& info, int operand, int M);

class Model {
  public:
    Model(const Settings& settings, bool with_data) : settings_(settings), with_data_(with_data) {}

    Expect predict(const Step& step) const;

    // Takes the outcome over, and says what is wrong with it; empty when nothing is.
    std::string apply(const Step& step, const Outcome& outcome);
    // As apply(), for a call that goes as predicted.
    void plan(const Step& step);

    const Context* context(int slot) const;  // nullptr unless alive
    const Memory* memory(int slot) const;
    int live_contexts() const;
    uint64_t used(int domain) const;
    uint64_t runs() const { return runs_; }
    uint64_t macs() const { return macs_; }
    uint64_t compared() const { return compared_; }

    // For the self-test: B is read as if K and N were swapped, or a byte of every C is flipped.
    enum class Sabotage { kOff, kSwapped, kFlippedByte };
    void sabotage(Sabotage how) { sabotage_ = how; }

  private:
    Expect refuse_info(const Step& step) const;
    Expect refuse_bind(const Step& step, const Context& context) const;
    Expect refuse_run(const Context& context) const;
    Expect refuse_quant(const Step& step, const Context& context) const;
    Expect refuse_import(const Step& step) const;
    Expect refuse_memory_use(const Step& step) const;
    Expect refuse_of_context(const Step& step) const;
    bool is_zero(int ctx) const;
    bool in_use(const Context& context, int operand) const;

    std::string effect(const Step& step, const Outcome* outcome);
    std::string create(const Step& step, const Outcome* outcome);
    std::string add_memory(const Step& step, const Outcome* outcome);
    std::string check_address(const Memory& memory) const;
    std::string bind(const Step& step, const Outcome* outcome);
    std::string poison(const Memory& memory, const std::vector<uint8_t>& now);
    const uint8_t* seen(const Context& context, int operand) const;
    std::string check_staleness(const Context& context, const Outcome& outcome) const;
    std::string run(const Step& step, const Outcome* outcome);
    std::string check_run(const Context& context, const uint8_t* got, const std::vector<uint8_t>& lost) const;
    std::string inspect(const Step& step, const Outcome* outcome) const;
    void write(const Step& step);
    void convert(const Step& step);
    void clean(const Memory& memory, uint64_t size);

    bool follows(const Allocation& allocation) const;
    void clean_lines(Allocation& allocation, uint64_t begin, uint64_t bytes) const;
    void invalidate_lines(Allocation& allocation, uint64_t begin, uint64_t bytes) const;
    bool unseen(const Allocation& allocation, uint64_t begin, uint64_t bytes, bool by_cpu) const;
    std::string sync(const Step& step, const Outcome* outcome);
    void lines(const Step& step);
    std::vector<uint8_t> overwritten(const Allocation& allocation, uint64_t begin, uint64_t bytes) const;
    std::string store_result(const Memory& mem, const Outcome& outcome, const std::vector<uint8_t>& lost);

    Settings settings_;
    bool with_data_;
    Sabotage sabotage_ = Sabotage::kOff;
    std::map<int, Context> contexts_;
    std::map<int, Memory> memories_;
    uint64_t runs_ = 0;
    uint64_t macs_ = 0;
    mutable uint64_t compared_ = 0;  // results
};

}  // namespace rknnsim_random
