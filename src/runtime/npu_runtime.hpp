// SPDX-License-Identifier: MIT
// The one seam to the device.
//
// Everything above this file sees three small interfaces and no vendor name: a runtime makes contexts, a
// context holds one (type, K, N, set of row counts, core, domain) and multiplies, memory is what the device
// can address. This folder implements them over the vendor's library; the simulator is such a library, too, so
// there is no second path; tests put fakes here.
//
// Layouts (matrix/layout.hpp) are native on all three sides unless the context is made otherwise, which only
// rknpu2-doctor does. A context runs on one core, so parallel work means several contexts on several threads.
// Two threads must not use one context at once; memory must not outlive its context.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "matrix/layout.hpp"
#include "runtime/cache_lines.hpp"

namespace rknpu2 {

struct RuntimeInfo {
    std::string library;         // where it was found
    std::string api_version;     // as the library reports it; "unknown" when it does not
    std::string driver_version;  // likewise
    bool simulated = false;
};

// The element types of one multiplication: all that the chip has. Plans (plan/weight_plan.hpp) know the first
// two alone; the others are for rknpu2-doctor.
enum class NpuArithmetic : uint8_t {
    kInt8,           // int8 by int8 to int32, exact
    kFloat16,        // fp16 by fp16 to fp32
    kInt4,           // int4 by int4 to int16, clipped; B is native
    kInt8Narrow,     // int8 by int8 to int8, clipped; the scales are 1. B is not transposed
    kFloat16Narrow,  // fp16 by fp16 to fp16
};

constexpr DType operand_type(NpuArithmetic a) {
    if (a == NpuArithmetic::kInt4) return DType::kInt4;
    return a == NpuArithmetic::kInt8 || a == NpuArithmetic::kInt8Narrow ? DType::kInt8 : DType::kFloat16;
}
constexpr DType result_type(NpuArithmetic a) {
    constexpr DType kTypes[] = {DType::kInt32, DType::kFloat32, DType::kInt16, DType::kInt8, DType::kFloat16};
    return kTypes[static_cast<size_t>(a)];
}

enum class Operand : uint8_t { kActivations, kWeights, kResult };

struct ContextSpec {
    NpuArithmetic arithmetic = NpuArithmetic::kInt8;
    size_t K = 0;              // multiple of rk3588::kAlignK, at most rk3588::kMaxK
    size_t N = 0;              // multiple of rk3588::align_n, at most rk3588::kMaxN
    std::vector<size_t> rows;  // the row counts M that may be selected, ascending
    int core = 0;              // 0 .. rk3588::kCores - 1
    int domain = 0;            // IOMMU domain, 0 .. rk3588::kDomains - 1
    // The layout of activations and result: kNormal or kNative. What is not native is copied by bind() of
    // activations and weights: later changes are not seen, and their memory must not be synced.
    Layout ac_layout = Layout::kNative;
    Layout b_layout = Layout::kNative;

    // An int8 context for calls that are about a domain or the device.
    static ContextSpec smallest(int domain = 0) {
        return {.K = kTileK, .N = kTileK, .rows = {1}, .domain = domain};
    }
};

class NpuMemory {
  public:
    NpuMemory() = default;
    NpuMemory(const NpuMemory&) = delete;
    NpuMemory& operator=(const NpuMemory&) = delete;
    virtual ~NpuMemory() = default;

    virtual std::byte* data() const = 0;  // first byte of this memory, as the CPU sees it
    virtual size_t size() const = 0;
};

class NpuContext {
  public:
    NpuContext() = default;
    NpuContext(const NpuContext&) = delete;
    NpuContext& operator=(const NpuContext&) = delete;
    virtual ~NpuContext() = default;

    // Bytes the runtime asks for the operand when `rows[index]` is selected.
    virtual size_t operand_bytes(Operand operand, size_t index) const = 0;

    // New device memory in the context's domain.
    virtual Result<std::unique_ptr<NpuMemory>> allocate(size_t bytes) = 0;
    // Device memory that the runtime promises to be without a CPU cache; for rknpu2-doctor. kUnsupported
    // where there is none.
    virtual Result<std::unique_ptr<NpuMemory>> allocate_non_cacheable(size_t bytes) {
        static_cast<void>(bytes);
        return Status(StatusCode::kUnsupported, "the runtime has no memory without a cache");
    }
    // A part of memory that another context of the same domain allocated, for use with this one. No copy.
    virtual Result<std::unique_ptr<NpuMemory>> import_slice(const NpuMemory& memory, size_t offset,
                                                            size_t bytes) = 0;

    // Chooses M = rows[index]; activations and result must be bound again afterwards.
    virtual Status select_rows(size_t index) = 0;
    virtual Status bind(Operand operand, NpuMemory& memory) = 0;

    // Makes what the CPU wrote visible to the device, and back: the whole of a memory that allocate() gave.
    // Sources disagree (docs/hardware.csv) on whether that works for an import, and on whether bind() of
    // activations or weights does the former, too: rely on neither.
    virtual Status sync_to_device(NpuMemory& memory) = 0;
    virtual Status sync_from_device(NpuMemory& memory) = 0;

    // Multiplies; returns when the result is there.
    virtual Status run() = 0;
};

class NpuRuntime {
  public:
    NpuRuntime() = default;
    NpuRuntime(const NpuRuntime&) = delete;
    NpuRuntime& operator=(const NpuRuntime&) = delete;
    virtual ~NpuRuntime() = default;

    virtual const RuntimeInfo& info() const = 0;
    // Thread safe.
    virtual Result<std::unique_ptr<NpuContext>> create_context(const ContextSpec& spec) = 0;
    // The CPU's cache in front of this device's memory, by lines. Thread safe.
    virtual CacheLines cache_lines() const { return {}; }
    // The runtime's own conversion of weights from rows [K, N] to the native layout, for rknpu2-doctor. Both
    // have K * N bytes whatever the type, since sources disagree on whether int4 is read from bytes or
    // nibbles. kUnsupported where the runtime has none.
    virtual Status convert_weights(NpuArithmetic arithmetic, size_t K, size_t N, void* from, void* to) {
        static_cast<void>(arithmetic), static_cast<void>(K), static_cast<void>(N);
        static_cast<void>(from), static_cast<void>(to);
        return {StatusCode::kUnsupported, "the runtime converts no weights"};
    }
};

}  // namespace rknpu2
