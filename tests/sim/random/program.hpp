// SPDX-License-Identifier: MIT
// A random program: a list of calls of the C interface, with everything that they are given.
//
// Contexts and memories are named by slots (ctx[3], mem[5]) which the creating call fills, so that a program
// is a plain value: it can be printed, shortened and run again. Between the calls stand steps of the program
// itself, which stores into memory or looks at it.
//
// Steps of one section, which stand next to each other, run at the same time: those of a lane on one thread.
// The generator sees to it that lanes do not depend on each other, so that the order in the list is as good
// as any.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "api/rknn_abi.h"

namespace rknnsim_random {

enum class Call {
    kCreate,
    kCreateDynamic,
    kSelectShape,
    kBind,
    kCoreMask,
    kSetQuant,
    kGetQuant,
    kRun,
    kDestroy,
    kConvertB,
    kCreateMem,
    kCreateMem2,
    kFromFd,
    kFromPhys,
    kDestroyMem,
    kSync,
    kQuery,
    kWrite,    // the program stores into a memory
    kInspect,  // the program looks at all bytes of a memory
    kEditMem,  // the program changes a field of a rknn_tensor_mem, or puts it back
    kLines,    // the program cleans cache lines of a memory, and invalidates them with flags = 2
    kCollide,  // two threads run one context at once, several times
};

inline constexpr int kNone = -1;     // 0 for a context, NULL for a memory
inline constexpr int kUnknown = -2;  // a context or memory that the library never gave out

enum Operand { kA = 0, kB = 1, kC = 2 };

enum class Pattern { kZero, kBytes, kSmall, kExtremes, kHalf, kHalfSpecial };

// Which descriptor a memory is imported by.
enum class Fd { kOwn, kDuplicate, kPipe, kClosed, kDevNull, kMinusOne };

// One change to a structure before it is passed.
struct Edit {
    enum Field { kName, kDimCount, kFirstDim, kLastDim, kSize, kType, kVirt, kPhys, kFd, kOffset, kFlags };
    Field field;
    int64_t value;
};

// How many scales a step can hand over.
inline constexpr int64_t kMostScales = 1 << 20;

struct Step {
    Call call = Call::kRun;
    int section = 0;  // 0: alone
    int lane = 0;
    int ctx = kNone;
    int mem = kNone;     // also the slot that a create fills
    int source = kNone;  // the memory that is imported or converted
    int operand = kA;
    int shape = 0;                          // whose attributes are passed to a bind
    rknn_matmul_info info{};                // creation and conversion
    std::vector<rknn_matmul_shape> shapes;  // dynamic creation; the one to select
    int64_t count = 0;                      // shape_num; scale_len
    int64_t zp_count = 0;
    uint64_t size = 0;
    int64_t offset = 0;
    uint64_t flags = 0;  // also the mode, the core mask and the command
    Pattern pattern = Pattern::kZero;
    uint64_t seed = 0;  // of the data
    float scale = 1.0F;
    int zp = 0;
    Fd fd = Fd::kOwn;
    int null_argument = 0;     // counts the pointers of the call from 1
    std::optional<Edit> edit;  // of the attributes, or of the memory
    const char* wrong = "";    // what the fuzzer did
};

// How the simulator is set for a program.
struct Settings {
    enum class Shadow { kAuto, kLazy, kFull } shadow = Shadow::kAuto;
    bool check = true;
    bool int4_normal_b = false;
    bool int4_bytes = true;
    bool saturate_segment = false;
    int rounding = 0;  // half-even, half-away, down
    bool unbound_zeros = false;
    bool rebind_reject = false;
    bool serialise = false;
    bool strict_limits = false;  // those of one task: K 10240, N 8192, M 2047
    bool contexts_fail = false;
    bool cores_fall_back = false;
    bool normal_a_at_run = false;
    bool non_cacheable_stale = true;
    // The CPU's cache; with any of them it is followed line by line.
    bool bind_leaves = false;
    bool import_sync_nothing = false;
    bool results_synced = false;
    bool dirty_overwrites = false;

    bool follows_lines() const {
        return bind_leaves || import_sync_nothing || results_synced || dirty_overwrites;
    }
    bool is_worst_board() const {
        return bind_leaves && import_sync_nothing && results_synced && dirty_overwrites &&
               non_cacheable_stale;
    }

    // nullptr: not set.
    std::vector<std::pair<const char*, const char*>> environment() const;
};

struct Program {
    uint64_t seed = 0;
    Settings settings;
    int contexts = 0;  // slots
    int memories = 0;
    std::vector<Step> steps;
};

// The data that a write stores.
void fill(Pattern pattern, uint64_t seed, uint8_t* data, size_t bytes);

const char* call_name(Call call);

// One line that reads like the call.
std::string text_of(const Step& step);
std::string text_of(const Program& program);

// Applies a step's edit to the attributes of a bind.
void apply_edit(const Edit& edit, rknn_matmul_tensor_attr* attr);

}  // namespace rknnsim_random
