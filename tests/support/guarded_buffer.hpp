// SPDX-License-Identifier: MIT
// Memory that lies flush against an inaccessible page, so that an access one element too far faults at once,
// in every build and not only under a sanitizer.
//
// Edge::kEnd puts the last element against the page behind it (reads and writes past the end fault);
// Edge::kBegin puts the first element against the page in front. The memory starts filled with a byte
// pattern, so that a test can also see what was not written. Cost: three or more pages and two system calls.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <span>
#include <utility>

namespace rknpu2::test {

enum class Edge { kBegin, kEnd };

template <typename T>
class GuardedBuffer {
  public:
    explicit GuardedBuffer(size_t count, Edge edge = Edge::kEnd, uint8_t fill = 0xA5) : count_(count) {
        const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
        const size_t bytes = count * sizeof(T);
        const size_t inside = (bytes / page + 1) * page;
        mapped_ = inside + 2 * page;
        void* memory = mmap(nullptr, mapped_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED) throw std::bad_alloc();
        base_ = static_cast<std::byte*>(memory);
        std::byte* usable = base_ + page;
        if (mprotect(usable, inside, PROT_READ | PROT_WRITE) != 0) {
            munmap(base_, mapped_);
            throw std::bad_alloc();
        }
        data_ = reinterpret_cast<T*>(edge == Edge::kBegin ? usable : usable + inside - bytes);
        this->fill(fill);
    }
    ~GuardedBuffer() {
        if (base_ != nullptr) munmap(base_, mapped_);
    }
    GuardedBuffer(GuardedBuffer&& other) noexcept
        : base_(std::exchange(other.base_, nullptr)),
          mapped_(other.mapped_),
          data_(std::exchange(other.data_, nullptr)),
          count_(std::exchange(other.count_, 0)) {}
    GuardedBuffer(const GuardedBuffer&) = delete;
    GuardedBuffer& operator=(const GuardedBuffer&) = delete;
    GuardedBuffer& operator=(GuardedBuffer&&) = delete;

    T* data() const { return data_; }
    size_t size() const { return count_; }
    T& operator[](size_t index) const { return data_[index]; }
    T* begin() const { return data_; }
    T* end() const { return data_ + count_; }
    std::span<T> span() const { return {data_, count_}; }

    void fill(uint8_t byte) {
        if (count_ != 0) std::memset(data_, byte, count_ * sizeof(T));
    }

  private:
    std::byte* base_ = nullptr;
    size_t mapped_ = 0;
    T* data_ = nullptr;
    size_t count_ = 0;
};

}  // namespace rknpu2::test
