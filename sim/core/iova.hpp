// SPDX-License-Identifier: MIT
// The 32-bit address space of one IOMMU domain: who has which addresses, and that no more than 4 GiB are
// given out.
//
// Addresses are given from the top downwards, in pages, first fit, and 0 is never used, as the vendor's
// driver does.
#pragma once

#include <cstdint>
#include <map>

namespace rknnsim {

inline constexpr uint64_t kPage = 4096;

class IovaSpace {
  public:
    explicit IovaSpace(uint64_t bytes = uint64_t{4} << 30);

    // Returns the address, or 0 when no free range is long enough. `bytes` is rounded up to pages.
    uint64_t allocate(uint64_t bytes);
    void release(uint64_t address, uint64_t bytes);
    uint64_t used() const { return used_; }

  private:
    std::map<uint64_t, uint64_t> free_;  // start -> end
    uint64_t used_ = 0;
};

}  // namespace rknnsim
