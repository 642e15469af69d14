// SPDX-License-Identifier: MIT
#include "core/memory.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "base/format.hpp"
#include "core/system.hpp"

namespace rknnsim {

using rknpu2::format;

namespace {

Outcome no_memory(const char* step, uint64_t size, int error) {
    // The simulator's memory is files, which a board's is not: say how the limit is called.
    const char* advice = error == EFBIG ? "; memory of the simulator is files: raise ulimit -f" : "";
    return {Code::kOutOfMemory, format("%s for %llu bytes: %s%s", step, static_cast<unsigned long long>(size),
                                       std::strerror(error), advice)};
}

// The name tells whose buffer it is to who looks at the descriptors of a process.
int new_file(uint64_t bytes, const char** step) {
    *step = "memfd_create";
    const int fd = above_standard(memfd_create(format("rknnsim.%d", process_id()).c_str(), MFD_CLOEXEC));
    if (fd < 0) return -1;
    *step = "ftruncate";
    const NoFileSizeSignal limited;
    if (ftruncate(fd, static_cast<off_t>(bytes)) == 0) return fd;
    const int error = errno;
    close(fd);
    errno = error;
    return -1;
}

// Maps the file between two pages that nobody may touch.
std::byte* map_guarded(int fd, size_t bytes) {
    void* space =
        mmap(nullptr, bytes + 2 * kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (space == MAP_FAILED) return nullptr;
    auto* cpu = static_cast<std::byte*>(space) + kPage;
    if (mmap(cpu, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE | MAP_FIXED, fd, 0) != MAP_FAILED)
        return cpu;
    const int error = errno;
    munmap(space, bytes + 2 * kPage);
    errno = error;
    return nullptr;
}

// How long a file or dma-buf is; 0 for what has no length. The position of the descriptor is the caller's.
size_t length_of(int fd, const struct stat& status) {
    if (S_ISREG(status.st_mode)) return static_cast<size_t>(status.st_size);
    const off_t at = lseek(fd, 0, SEEK_CUR);
    const off_t end = lseek(fd, 0, SEEK_END);
    if (at >= 0) lseek(fd, at, SEEK_SET);
    return end > 0 ? static_cast<size_t>(end) : 0;
}

}  // namespace

Allocation::~Allocation() {
    pool_.forget(*this);
    munmap(cpu_ - guard_, size_ + 2 * guard_);
    close(fd_);
}

bool Allocation::overrun() const {
    if (foreign_) return false;  // what is behind it is not ours
    return std::any_of(cpu_ + asked_, cpu_ + size_, [](std::byte value) { return value != std::byte{0}; });
}

bool Allocation::bind_unwritten(size_t offset, size_t bytes) {
    if (foreign_ || bytes == 0) return false;
    const size_t end = offset + bytes;
    const std::lock_guard<std::mutex> lock(mutex_);
    if (written_.contains(offset, end)) return false;
    const bool again = unwritten_.intersects(offset, end);
    // A file of memory has holes where nobody has touched it. The position of the descriptor is the
    // program's.
    const off_t at = lseek(fd_, 0, SEEK_CUR);
    const off_t data = lseek(fd_, static_cast<off_t>(offset / kPage * kPage), SEEK_DATA);
    const bool hole = data < 0 ? errno == ENXIO : static_cast<size_t>(data) >= end;
    if (at >= 0) lseek(fd_, at, SEEK_SET);
    if (hole && !again) {
        unwritten_.add(offset, end);
        return true;
    }
    unwritten_.remove(offset, end);
    written_.add(offset, end);
    return false;
}

bool Allocation::still_unwritten(size_t offset, size_t bytes) const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return unwritten_.contains(offset, offset + bytes) &&
           std::all_of(cpu_ + offset, cpu_ + offset + bytes,
                       [](std::byte value) { return value == std::byte{0}; });
}

void Allocation::declare_written(size_t offset, size_t bytes) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (unwritten_.empty()) return;
    unwritten_.remove(offset, offset + bytes);
}

MemoryPool::MemoryPool(uint64_t domain_bytes, const CacheRules& rules) : rules_(rules) {
    domains_.fill(IovaSpace(domain_bytes));
}

MemoryPool::FileId MemoryPool::id_of(const Allocation& allocation) {
    return {allocation.device_, allocation.inode_, allocation.foreign_ ? allocation.domain_ : -1};
}

Outcome MemoryPool::take_addresses(int domain, uint64_t size, uint64_t* iova) {
    const std::lock_guard<std::mutex> lock(mutex_);
    *iova = domains_[domain].allocate(size);
    if (*iova != 0) return {};
    return {Code::kOutOfMemory, format("no %llu bytes of address space left in domain %d (%llu in use)",
                                       static_cast<unsigned long long>(size), domain,
                                       static_cast<unsigned long long>(domains_[domain].used()))};
}

void MemoryPool::give_back_addresses(int domain, uint64_t size, uint64_t iova) {
    const std::lock_guard<std::mutex> lock(mutex_);
    domains_[domain].release(iova, size);
}

std::shared_ptr<Allocation> MemoryPool::adopt(Allocation::Parts parts) {
    std::shared_ptr<Allocation> made(new Allocation(*this, std::move(parts)));
    const std::lock_guard<std::mutex> lock(mutex_);
    by_file_[id_of(*made)] = made;
    places_[made->cpu()] = {made.get(), 0, made->size(), 1, made};
    return made;
}

std::shared_ptr<Allocation> MemoryPool::find_by_address(const void* address, uint64_t bytes, size_t* offset) {
    const auto* first = static_cast<const std::byte*>(address);
    std::shared_ptr<Allocation> found;  // released after the lock: the last reference forgets itself
    const std::lock_guard<std::mutex> lock(mutex_);
    // Mostly the first one; aliases of parts may lie within those of a whole.
    for (auto place = places_.upper_bound(first); place != places_.begin();) {
        --place;
        const auto into = static_cast<size_t>(first - place->first);
        if (into >= place->second.bytes || bytes > place->second.bytes - into) continue;
        *offset = place->second.offset + into;
        found = place->second.allocation.lock();
        break;
    }
    return found;
}

std::shared_ptr<void> MemoryPool::add_alias(const std::byte* address,
                                            const std::shared_ptr<Allocation>& allocation, size_t offset,
                                            size_t bytes) {
    const Allocation* of = allocation.get();
    if (address == allocation->cpu() + offset) return nullptr;
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        Place& place = places_[address];
        if (place.of != of || place.offset != offset) place = {.of = of, .offset = offset};
        place.allocation = allocation;
        place.bytes = std::max(place.bytes, bytes);
        ++place.made;
    }
    return {nullptr, [this, address, of](void*) { forget_place(address, of); }};
}

void MemoryPool::forget_place(const std::byte* address, const Allocation* of) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto place = places_.find(address);
    if (place == places_.end() || place->second.of != of) return;  // the program has mapped another one there
    if (--place->second.made == 0) places_.erase(place);
}

Outcome MemoryPool::allocate(int domain, uint64_t size, bool cached,
                             std::shared_ptr<Allocation>* allocation) {
    if (size == 0) return {Code::kInvalidParameter, "size must not be 0"};
    Allocation::Parts parts{.asked = size, .guard = kPage, .domain = domain};
    parts.size = (size + kPage - 1) / kPage * kPage;
    RKNNSIM_RETURN_IF_ERROR(take_addresses(domain, size, &parts.iova));
    const char* step = nullptr;
    parts.fd = new_file(parts.size, &step);
    struct stat status {};
    if (parts.fd >= 0) {
        step = "mmap";
        parts.cpu = map_guarded(parts.fd, parts.size);
        if (parts.cpu != nullptr && fstat(parts.fd, &status) == 0) {
            parts.device = status.st_dev;
            parts.inode = status.st_ino;
            const bool coherent = !cached && !rules_.non_cacheable_stale;
            if (make_device_view(parts.cpu, parts.size, coherent, false, rules_, &parts.view).ok()) {
                *allocation = adopt(std::move(parts));
                return {};
            }
            errno = ENOMEM;
        }
    }
    const int error = errno;
    if (parts.cpu != nullptr) munmap(parts.cpu - kPage, parts.size + 2 * kPage);
    if (parts.fd >= 0) close(parts.fd);
    give_back_addresses(domain, size, parts.iova);
    return no_memory(step, size, error);
}

Outcome MemoryPool::import(int domain, int fd, std::shared_ptr<Allocation>* allocation) {
    const auto refuse = [&](const char* why) {
        return Outcome(Code::kInvalidParameter, format("fd %d %s", fd, why));
    };
    struct stat status {};
    if (fstat(fd, &status) != 0) return refuse("is not open");
    Allocation::Parts parts{
        .device = status.st_dev, .inode = status.st_ino, .foreign = true, .domain = domain};
    parts.size = length_of(fd, status);
    if (parts.size == 0) return refuse("has no length: it is no buffer");
    if (parts.size > UINT32_MAX) return refuse("has 4 GiB or more");
    parts.asked = parts.size;
    // A number of our own: the caller may close his.
    parts.fd = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    if (parts.fd < 0) return no_memory("dup", parts.size, errno);
    void* mapping = mmap(nullptr, parts.size, PROT_READ | PROT_WRITE, MAP_SHARED, parts.fd, 0);
    if (mapping == MAP_FAILED) {
        const int error = errno;
        close(parts.fd);
        return refuse(format("cannot be mapped for reading and writing: %s", std::strerror(error)).c_str());
    }
    parts.cpu = static_cast<std::byte*>(mapping);
    Outcome outcome = make_device_view(parts.cpu, parts.size, false, true, rules_, &parts.view);
    if (outcome.ok()) outcome = take_addresses(domain, parts.size, &parts.iova);
    if (outcome.ok()) {
        *allocation = adopt(std::move(parts));
        return {};
    }
    munmap(mapping, parts.size);
    close(parts.fd);
    return outcome;
}

std::shared_ptr<Allocation> MemoryPool::find_by_fd(int domain, int fd) {
    struct stat status {};
    if (fstat(fd, &status) != 0) return nullptr;
    std::shared_ptr<Allocation> held[2];  // released after the lock: the last reference forgets itself
    const std::lock_guard<std::mutex> lock(mutex_);
    for (const int of : {-1, domain}) {
        const auto found = by_file_.find({status.st_dev, status.st_ino, of});
        std::shared_ptr<Allocation>& one = held[of < 0 ? 0 : 1];
        if (found != by_file_.end()) one = found->second.lock();
        if (one != nullptr) return one;
    }
    return nullptr;
}

std::vector<std::shared_ptr<Allocation>> MemoryPool::find_all_by_fd(int fd) {
    std::vector<std::shared_ptr<Allocation>> found;
    for (int domain = 0; domain < kDomains; ++domain) {
        std::shared_ptr<Allocation> one = find_by_fd(domain, fd);
        if (one != nullptr && std::find(found.begin(), found.end(), one) == found.end())
            found.push_back(std::move(one));
    }
    return found;
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
    forget_place(allocation.cpu(), &allocation);
    const std::lock_guard<std::mutex> lock(mutex_);
    domains_[allocation.domain()].release(allocation.iova(), allocation.size());
    const auto found = by_file_.find(id_of(allocation));
    // Another one may have been made of the same foreign file meanwhile.
    if (found != by_file_.end() && found->second.expired()) by_file_.erase(found);
}

}  // namespace rknnsim
