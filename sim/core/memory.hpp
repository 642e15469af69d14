// SPDX-License-Identifier: MIT
// Device memory: allocations, the pieces of them that callers hold, and the domains that they are accounted
// to.
//
// An Allocation stands for a dma-buf: one memfd, mapped once between two guard pages, with a range of IOVA in
// one domain and a device view. It lives as long as anything refers to it.
//
// A Memory is what a create_mem call returned: all of an allocation, or a slice of one imported through its
// fd. An import costs no IOVA, because importing a buffer into the device that exported it gives that buffer.
// A buffer that somebody else has made (a memfd, a dma-buf, a file of shared memory) becomes an Allocation of
// its own in each domain that it is imported into: it is mapped here as well, and takes IOVA.
//
// Contexts refer to a Memory weakly: destroying one that is bound frees it, and the next run says so.
#pragma once

#include <sys/types.h>

#include <array>
#include <map>
#include <memory>
#include <mutex>
#include <tuple>
#include <vector>

#include "core/device_view.hpp"
#include "core/iova.hpp"
#include "core/outcome.hpp"
#include "core/process.hpp"
#include "core/result_map.hpp"

namespace rknnsim {

inline constexpr int kDomains = 16;

class MemoryPool;

class Allocation {
  public:
    ~Allocation();
    Allocation(const Allocation&) = delete;
    Allocation& operator=(const Allocation&) = delete;

    std::byte* cpu() const { return cpu_; }
    size_t size() const { return size_; }
    int fd() const { return fd_; }
    int domain() const { return domain_; }
    // Did this process make the file behind it?
    bool made_here() const { return !foreign_ && process_ == process_id(); }
    uint64_t iova() const { return iova_; }
    DeviceView& view() { return *view_; }
    const DeviceView& view() const { return *view_; }
    ResultMap& results() { return results_; }

    // The range is about to be bound as an input. Has nobody stored to it yet, as far as the system tells?
    // The second time it counts as written: a program that binds again has stored something, be it zeros.
    bool bind_unwritten(size_t offset, size_t bytes);
    // Is a range for which that was so still as it was?
    bool still_unwritten(size_t offset, size_t bytes) const;
    // A sync, or a result, says that the range has data.
    void declare_written(size_t offset, size_t bytes);

    // Has anybody written behind the bytes that were asked for, up to the end of their page?
    bool overrun() const;

  private:
    friend class MemoryPool;
    // A file that is open and mapped, and an address space that has room for it.
    struct Parts {
        int fd = -1;
        dev_t device = 0;
        ino_t inode = 0;
        std::byte* cpu = nullptr;
        size_t asked = 0;
        size_t size = 0;       // what can be stored to
        size_t guard = 0;      // bytes before and behind it that cannot
        bool foreign = false;  // somebody else made the file
        int domain = 0;
        uint64_t iova = 0;
        std::unique_ptr<DeviceView> view;
    };
    Allocation(MemoryPool& pool, Parts parts)
        : pool_(pool),
          fd_(parts.fd),
          device_(parts.device),
          inode_(parts.inode),
          cpu_(parts.cpu),
          asked_(parts.asked),
          size_(parts.size),
          guard_(parts.guard),
          foreign_(parts.foreign),
          domain_(parts.domain),
          iova_(parts.iova),
          view_(std::move(parts.view)) {}

    MemoryPool& pool_;
    const int fd_;
    const dev_t device_;
    const ino_t inode_;
    std::byte* const cpu_;
    const size_t asked_;
    const size_t size_;
    const size_t guard_;
    const bool foreign_;
    const int domain_;
    const uint64_t iova_;
    const pid_t process_ = process_id();
    const std::unique_ptr<DeviceView> view_;
    ResultMap results_;

    mutable std::mutex mutex_;  // guards what follows
    RangeSet unwritten_;
    RangeSet written_;
};

// What the checker remembers of a weight: how many of its last k are zero for every n, which looks like
// padding, and the fingerprint of the data that this was found for. -1: not looked at.
struct ZeroTail {
    std::mutex mutex;
    uint64_t fingerprint = 0;
    int count = -1;
};

struct Memory {
    std::shared_ptr<Allocation> allocation;
    size_t offset = 0;  // of the first byte in the allocation
    size_t size = 0;
    uint64_t context = 0;  // that it was made with
    bool imported = false;
    std::shared_ptr<void> alias;  // the address at which its maker sees the buffer, if it is one of his own
    const pid_t process = process_id();
    ZeroTail zero_tail;  // when bound to B

    std::byte* cpu() const { return allocation->cpu() + offset; }
};

class MemoryPool {
  public:
    explicit MemoryPool(uint64_t domain_bytes, const CacheRules& rules = {});

    // `cached`: false for memory that was asked for without a cache.
    Outcome allocate(int domain, uint64_t size, bool cached, std::shared_ptr<Allocation>* allocation);

    // The buffer of somebody else behind a file descriptor, which stays the caller's.
    Outcome import(int domain, int fd, std::shared_ptr<Allocation>* allocation);

    // The live allocation behind a file descriptor, whatever domain it is in; a file of somebody else is
    // looked for only in `domain`.
    std::shared_ptr<Allocation> find_by_fd(int domain, int fd);
    std::vector<std::shared_ptr<Allocation>> find_all_by_fd(int fd);
    // The live allocation that contains [iova, iova + size) of a domain.
    std::shared_ptr<Allocation> find_by_iova(int domain, uint64_t iova, uint64_t size);

    // The live allocation that has [address, address + bytes) where the CPU sees it, and at which offset;
    // nullptr for memory that is no buffer's.
    std::shared_ptr<Allocation> find_by_address(const void* address, uint64_t bytes, size_t* offset);
    // For as long as what it returns lives, `bytes` of the allocation from `offset` on are also found at
    // `address`.
    std::shared_ptr<void> add_alias(const std::byte* address, const std::shared_ptr<Allocation>& allocation,
                                    size_t offset, size_t bytes);

    // IOVA bytes in use.
    std::array<uint64_t, kDomains> used();

  private:
    friend class Allocation;
    using FileId = std::tuple<dev_t, ino_t, int>;  // the last one is the domain of a foreign file, else -1

    static FileId id_of(const Allocation& allocation);
    Outcome take_addresses(int domain, uint64_t size, uint64_t* iova);
    void give_back_addresses(int domain, uint64_t size, uint64_t iova);
    std::shared_ptr<Allocation> adopt(Allocation::Parts parts);
    void forget(const Allocation& allocation);

    // Where the CPU sees an allocation. `made`: how many aliases are the same.
    struct Place {
        const Allocation* of = nullptr;
        size_t offset = 0;
        size_t bytes = 0;
        size_t made = 0;
        std::weak_ptr<Allocation> allocation;
    };
    void forget_place(const std::byte* address, const Allocation* of);

    const CacheRules rules_;
    std::mutex mutex_;  // guards what follows
    std::array<IovaSpace, kDomains> domains_;
    std::map<FileId, std::weak_ptr<Allocation>> by_file_;
    std::map<const std::byte*, Place> places_;
};

}  // namespace rknnsim
