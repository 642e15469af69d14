// SPDX-License-Identifier: MIT
// Device memory that a running call writes: a cube of activations for each row chunk and K segment, a result
// for each run whose result is not used up yet.
//
// Each area is a buffer of its own. To hand it over may cost time for all its bytes, used or not (coherency.hpp).
// So it is at most a quarter, or 4 KiB, larger than what is asked for; an index may have areas of several sizes.
// Areas are kept for the calls that come. When memory is short, or they come to kMostKeptBytes, those that
// the running call has not asked for are given back. Not thread safe: the device's lock guards them.
#pragma once

#include "device/context_cache.hpp"

namespace rknpu2 {

// Bytes of all areas together that are kept; twice what a prompt of 512 rows in a 7B model takes.
inline constexpr size_t kMostKeptBytes = kWorkAreaBytes / 2;

class WorkAreas {
  public:
    WorkAreas(DeviceMemoryPool& pool, ContextCache& contexts, Coherency& coherency)
        : pool_(pool), contexts_(contexts), coherency_(coherency) {}

    // What is asked for from now on stays until the next call begins.
    void begin_call() { ++call_; }
    // Returns an area of at least `bytes`, content undefined. One of about that size that the index has is used
    // again.
    Result<Slice> activations(int domain, size_t cube, size_t bytes) {
        return area({domain, cube, false}, bytes);
    }
    Result<Slice> result(int domain, size_t index, size_t bytes) {
        return area({domain, index, true}, bytes);
    }
    // An area of activations that an earlier call has filled is used again.
    void use_again(size_t cube, const Slice& area);
    // Gives one result's areas back: the next ones are others.
    void drop_result(int domain, size_t index);
    // And those of all indices from `first` on, in every domain.
    void drop_results_from(size_t first);
    void clear();
    // While held, nothing that the running call has not asked for is given back: contexts may be at work, and would have
    // to forget it.
    void hold(bool held) { held_ = held; }

  private:
    struct Use {
        int domain;
        size_t index;
        bool for_result;
        auto operator<=>(const Use&) const = default;
    };
    struct Area {
        Slice slice;
        uint64_t call;  // that asked for it last
    };

    Result<Slice> area(const Use& use, size_t bytes);
    Result<Slice> allocate(const Use& use, size_t bytes);
    bool give_back_unused();
    template <typename Which>
    bool give_back(const Which& which);

    DeviceMemoryPool& pool_;
    ContextCache& contexts_;
    Coherency& coherency_;
    uint64_t call_ = 0;
    bool held_ = false;
    size_t bytes_ = 0;  // of all areas
    std::multimap<Use, Area> areas_;
};

}  // namespace rknpu2
