#include "core/memory.hpp"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "base/format.hpp"

namespace rknnsim {

using rknpu2::format;

Allocation::~Allocation() {
    pool_.forget(*this);
    munmap(cpu_ - kPage, size_ + 2 * kPage);
    close(fd_);
}

bool Allocation::overrun() const {
    return std::any_of(cpu_ + asked_, cpu_ + size_, [](std::byte value) { return value != std::byte{0}; });
}

MemoryPool::MemoryPool(uint64_t domain_bytes) {
    domains_.fill(IovaSpace(domain_bytes));
}

Outcome MemoryPool::allocate(int domain, uint64_t size, bool cached,
                             std::shared_ptr<Allocation>* allocation) {
    if (size == 0) return {Code::kInvalidParameter, "size must not be 0"};
    uint64_t iova = 0;
    uint64_t used = 0;
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        iova = domains_[domain].allocate(size);
        used = domains_[domain].used();
    }
    if (iova == 0) {
        return {Code::kOutOfMemory,
                format("no %llu bytes of address space left in domain %d (%llu in use)",
                       static_cast<unsigned long long>(size), domain, static_cast<unsigned long long>(used))};
    }
    const auto undo = [&](const char* step, int fd) {
        const int error = errno;
        if (fd >= 0) close(fd);
        const std::lock_guard<std::mutex> lock(mutex_);
        domains_[domain].release(iova, size);
        return Outcome(Code::kOutOfMemory,
                       format("%s for %llu bytes: %s", step, static_cast<unsigned long long>(size),
                              std::strerror(error)));
    };
    const int fd = memfd_create("rknnsim", MFD_CLOEXEC);
    if (fd < 0) return undo("memfd_create", fd);
    const uint64_t rounded = (size + kPage - 1) / kPage * kPage;
    if (ftruncate(fd, static_cast<off_t>(rounded)) != 0) return undo("ftruncate", fd);
    struct stat status {};
    if (fstat(fd, &status) != 0) return undo("fstat", fd);
    // A page before and a page behind that nobody may touch.
    void* space =
        mmap(nullptr, rounded + 2 * kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (space == MAP_FAILED) return undo("mmap", fd);
    auto* cpu = static_cast<std::byte*>(space) + kPage;
    if (mmap(cpu, rounded, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE | MAP_FIXED, fd, 0) ==
        MAP_FAILED) {
        const int error = errno;
        munmap(space, rounded + 2 * kPage);
        errno = error;
        return undo("mmap", fd);
    }

    allocation->reset(new Allocation(*this, fd, cpu, size, rounded, domain, iova, cached));
    const std::lock_guard<std::mutex> lock(mutex_);
    by_file_[{status.st_dev, status.st_ino}] = *allocation;
    return {};
}

std::shared_ptr<Allocation> MemoryPool::find_by_fd(int fd) {
    struct stat status {};
    if (fstat(fd, &status) != 0) return nullptr;
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto found = by_file_.find({status.st_dev, status.st_ino});
    return found == by_file_.end() ? nullptr : found->second.lock();
}

std::shared_ptr<Allocation> MemoryPool::find_by_iova(int domain, uint64_t iova, uint64_t size) {
    std::vector<std::shared_ptr<Allocation>>
        live;  // released after the lock: the last reference forgets itself
    const std::lock_guard<std::mutex> lock(mutex_);
    for (const auto& [file, weak] : by_file_) {
        const std::shared_ptr<Allocation>& candidate = live.emplace_back(weak.lock());
        if (candidate == nullptr || candidate->domain() != domain || candidate->iova() > iova) continue;
        if (iova - candidate->iova() + size <= candidate->size()) return candidate;
    }
    return nullptr;
}

std::array<uint64_t, kDomains> MemoryPool::used() {
    const std::lock_guard<std::mutex> lock(mutex_);
    std::array<uint64_t, kDomains> result{};
    for (size_t i = 0; i < result.size(); ++i)
        result[i] = domains_[i].used();
    return result;
}

void MemoryPool::forget(const Allocation& allocation) {
    struct stat status {};
    const bool known = fstat(allocation.fd(), &status) == 0;
    const std::lock_guard<std::mutex> lock(mutex_);
    domains_[allocation.domain()].release(allocation.iova(), allocation.size());
    if (known) by_file_.erase({status.st_dev, status.st_ino});
}

}  // namespace rknnsim
