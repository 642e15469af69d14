// SPDX-License-Identifier: MIT
// How the CPU's cache and the device get on: what is open about a board, one member for each setting.
//
// With the values below the simulator follows the cache only where a program reads what it has written
// (tracked_view.hpp). Any stricter one makes it follow every line of every buffer (cached_view.hpp).
#pragma once

namespace rknnsim {

struct CacheRules {
    bool bind_cleans = true;        // RKNNSIM_BIND: rknn_matmul_set_io_mem of native A and B
    bool import_syncs = true;       // RKNNSIM_IMPORT_SYNC: rknn_mem_sync on an imported memory does something
    bool results_visible = true;    // RKNNSIM_RESULTS: the CPU sees a result as soon as run returns
    bool dirty_overwrites = false;  // RKNNSIM_DIRTY: lines written by the CPU come back over a result
    bool non_cacheable_stale = true;  // RKNNSIM_NON_CACHEABLE: such memory behaves as cached memory

    bool follow_every_line() const {
        return !bind_cleans || !import_syncs || !results_visible || dirty_overwrites;
    }

    bool operator==(const CacheRules&) const = default;
};

}  // namespace rknnsim
