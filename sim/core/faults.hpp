// SPDX-License-Identifier: MIT
// Failures on request: RKNNSIM_FAULTS, a list of faults separated by commas, each of words separated by
// colons.
//
//   fail:FUNCTION:WHEN[:code=C]   that call fails with C (default -1; functions that return memory give NULL)
//   lost:WHEN[:code=C]            a submit is accepted and never runs: the run takes its time, C stays as it
//                                 was, and the call returns C (default -2, a timeout; 0 hides it)
//   hang:WHEN[:core=K]            the core of that run hangs: it and every later run on the core time out
//                                 with -2, until the context that hung it is destroyed (then the driver
//                                 resets the core); with core=K only runs on core K (0 to 2) count
//   memory:bytes=B                memory runs out: no more than B bytes can be alive
//   delay:WHEN:us=T               the run takes T microseconds longer and is right
//   crash:FUNCTION:WHEN           the process ends in that call (SIGABRT)
//   block:FUNCTION:WHEN           that call does not return
//   seed:S                        for `share`; 0 when not given
//
//   WHEN is  nth=N  the N-th call or run, counted from 1 over the whole process,
//            from=N  it and all later ones,   every=N  each N-th,
//            share=P  a random part of them, 0 < P <= 1; same seed, same numbers.
//
// Example: fail:rknn_matmul_run:nth=5:code=-2,memory:bytes=1000000,lost:share=0.001,seed:7. A list that
// cannot be read is an error, and then every call fails. Thread safe; with threads, which call gets which
// number is theirs to decide.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "core/outcome.hpp"

namespace rknnsim {

// What happens to one run.
struct RunFault {
    bool computes = true;   // false: C stays as it was
    int code = 0;           // that the call returns
    std::string text;       // why, when it does not compute
    uint64_t delay_ns = 0;  // on top of its time
};

class Faults {
  public:
    static constexpr int kCores = 3;

    // `functions`: the names that may appear. Replaces what `faults` held.
    static Outcome parse(const std::string& text, const std::vector<std::string>& functions,
                         std::unique_ptr<Faults>* faults);

    // Counts a call; returns the code that it has to fail with, or 0. Does not return from one that crashes
    // or blocks.
    int call(const char* function);

    // Counts a run of `context`. `core_mask`: 1, 2, 4, or 0 for a core that does not hang, if there is one.
    RunFault run(uint64_t context, int core_mask);

    // `in_use` bytes are alive; is there no memory for so many more? Counts the times it says yes.
    bool refuses_memory(uint64_t in_use, uint64_t bytes) const;

    // The context was destroyed: cores that it has hung work again.
    void context_destroyed(uint64_t context);

    // True: from now on nothing is made to fail, and nothing is counted. A core that hangs still does.
    // False: all goes on from where it was.
    void pause(bool paused) { paused_ = paused; }

    // How many calls, runs and requests for memory have been made to fail.
    uint64_t made() const { return made_; }

  private:
    enum class Kind { kFail, kLost, kHang, kMemory, kDelay, kCrash, kBlock };
    enum class When { kNone, kNth, kFrom, kEvery, kShare };

    struct Fault {
        Kind kind = Kind::kFail;
        std::string function;
        When when = When::kNone;
        uint64_t number = 0;
        double share = 0;
        int code = -1;
        int core = -1;
        uint64_t bytes = 0;
        uint64_t delay_ns = 0;
        std::atomic<uint64_t> seen{0};

        // Does it count the calls of a function, and not runs?
        bool is_of_calls() const {
            return kind == Kind::kFail || kind == Kind::kCrash || kind == Kind::kBlock;
        }
    };
    using Words = std::vector<std::string>;

    // Each returns an empty text, or what is wrong.
    std::string add(const Words& words, const std::vector<std::string>& functions);
    static std::string read(const std::string& word, Fault* fault);
    static std::string read_when(const std::string& key, const std::string& value, Fault* fault);

    // Counts, and says whether this is one of those that the fault is for.
    bool hits(Fault& fault, size_t index) const;

    std::vector<std::unique_ptr<Fault>> faults_;
    uint64_t seed_ = 0;
    std::atomic<bool> paused_{false};
    mutable std::atomic<uint64_t> made_{0};
    std::mutex mutex_;                        // guards what follows
    std::array<uint64_t, kCores> hung_by_{};  // the context that hung the core, or 0
};

}  // namespace rknnsim
