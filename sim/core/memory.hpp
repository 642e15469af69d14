// Device memory: allocations, the pieces of them that callers hold, and the domains that they are accounted
// to.
//
// An Allocation is one memfd, mapped once between two guard pages, with a range of IOVA in one domain and a
// device view; it stands for a dma-buf and lives as long as anything refers to it. A Memory is what a
// create_mem call returned: all of an allocation, or a slice of one imported through its fd. An import costs
// no IOVA: importing a buffer into the device that exported it gives the same buffer. Contexts refer to a
// Memory weakly: destroying one that is bound frees it, and the next run says so.
#pragma once

#include <sys/types.h>

#include <array>
#include <map>
#include <memory>
#include <mutex>

#include "core/device_view.hpp"
#include "core/iova.hpp"
#include "core/outcome.hpp"
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
    uint64_t iova() const { return iova_; }
    DeviceView& view() { return view_; }
    ResultMap& results() { return results_; }

    // Has anybody written behind the bytes that were asked for, up to the end of their page?
    bool overrun() const;

  private:
    friend class MemoryPool;
    Allocation(MemoryPool& pool, int fd, std::byte* cpu, size_t asked, size_t size, int domain, uint64_t iova,
               bool cached)
        : pool_(pool),
          fd_(fd),
          cpu_(cpu),
          asked_(asked),
          size_(size),
          domain_(domain),
          iova_(iova),
          view_(cpu, size, cached) {}

    MemoryPool& pool_;
    int fd_;
    std::byte* cpu_;
    size_t asked_;
    size_t size_;  // whole pages
    int domain_;
    uint64_t iova_;
    DeviceView view_;
    ResultMap results_;
};

// How many of the last k of a weight are zero for every n: what looks like padding. Remembered with the
// fingerprint of the data that it was found for; -1: not looked at. Thread safe.
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
    ZeroTail zero_tail;    // when bound to B

    std::byte* cpu() const { return allocation->cpu() + offset; }
};

class MemoryPool {
  public:
    explicit MemoryPool(uint64_t domain_bytes);

    Outcome allocate(int domain, uint64_t size, bool cached, std::shared_ptr<Allocation>* allocation);

    // The live allocation behind a file descriptor, or one that contains [iova, iova + size) of a domain.
    std::shared_ptr<Allocation> find_by_fd(int fd);
    std::shared_ptr<Allocation> find_by_iova(int domain, uint64_t iova, uint64_t size);

    // IOVA bytes in use.
    std::array<uint64_t, kDomains> used();

  private:
    friend class Allocation;
    using FileId = std::pair<dev_t, ino_t>;

    void forget(const Allocation& allocation);

    std::mutex mutex_;
    std::array<IovaSpace, kDomains> domains_;
    std::map<FileId, std::weak_ptr<Allocation>> by_file_;
};

}  // namespace rknnsim
