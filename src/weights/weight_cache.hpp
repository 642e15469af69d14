// SPDX-License-Identifier: MIT
// Packed weights on disk: a weight that was packed once is read the next time.
//
// A file's name is a key that stands for everything its bytes follow from: the stored weight (every byte),
// its type, shape and what the host's conversion makes of some rows, the plan, the statistics of activations,
// and kPackingVersion. So nothing is ever out of date. A file that is not what its key says is reported,
// counted, and replaced. A file that cannot be written is one line in the log for the process. Packing goes
// on in every case.
//
// The file, little endian: a header (Header in weight_cache.cpp), then the cells in the order of the plan,
// channel scales, channel offsets, input factors and bias. The header's checksum of the payload is the digest
// of the digests of its pieces, so that threads check while they read.
//
// The hashes are proof against accidents, not against attacks: the directory is its owner's alone. Thread
// safe.
#pragma once

#include <atomic>

#include "calibration/activation_stats.hpp"
#include "system/file_cache.hpp"
#include "system/thread_pool.hpp"
#include "weights/packed_weight.hpp"

namespace rknpu2 {

inline constexpr const char* kPackedWeightSuffix = ".rknpuw";

class WeightCache {
  public:
    WeightCache(const std::string& directory, uint64_t limit_bytes, Counters& counters);

    // Returns the key of what pack_weight() would make of it.
    static Digest key_of(const ReservedWeight& reserved, ThreadPool& pool);

    // Fills the cells from a file, and returns the whole weight. Null: there is no such file, or none to be
    // used; the content of the cells is undefined then.
    std::shared_ptr<const PackedWeight> load(const Digest& key, const ReservedWeight& reserved,
                                             ThreadPool& pool);

    // `packed`: from pack_weight(), far channels among the others.
    void store(const Digest& key, const PackedWeight& packed, ThreadPool& pool);

  private:
    Status write(const Digest& key, const PackedWeight& packed, ThreadPool& pool);

    FileCache directory_;
    WeightCacheCounters& counters_;
    std::atomic<bool> reported_{false};
};

}  // namespace rknpu2
