// SPDX-License-Identifier: MIT
#include "plane_finder.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>

#include "base/format.hpp"
#include "system/file.hpp"

namespace rknpu2 {

Result<std::unique_ptr<PlaneFinder>> PlaneFinder::open(const std::string& path, const GgufFile& file,
                                                       const Config& config) {
    Result<std::unique_ptr<StatsLibrary>> library = open_stats_library(config);
    RKNPU2_RETURN_IF_ERROR(library.status());
    std::unique_ptr<PlaneFinder> finder(new PlaneFinder);
    finder->library_ = library.take();
    finder->data_offset_ = file.data_offset;
    if (finder->library_ == nullptr || file.tensors.empty()) return finder;
    const FileDescriptor opened = open_file(path.c_str(), O_RDONLY);
    const int fd = opened.number();
    struct stat info {};
    void* mapped = MAP_FAILED;
    if (fd >= 0 && fstat(fd, &info) == 0 && info.st_size > 0)
        mapped = mmap(nullptr, static_cast<size_t>(info.st_size), PROT_READ, MAP_PRIVATE, fd, 0);
    const int error = errno;
    if (mapped == MAP_FAILED) {
        return Status(StatusCode::kIo, format("%s: cannot be read: %s", path.c_str(), std::strerror(error)));
    }
    finder->data_ = static_cast<const std::byte*>(mapped);
    finder->size_ = static_cast<size_t>(info.st_size);
    return finder;
}

PlaneFinder::~PlaneFinder() {
    if (data_ != nullptr) munmap(const_cast<std::byte*>(data_), size_);
}

std::optional<StatsLibrary::Found> PlaneFinder::find(const GgufTensor& tensor) {
    if (data_ == nullptr || tensor.bytes == 0 || tensor.ne[1] == 0) return std::nullopt;
    const uint64_t start = data_offset_ + tensor.offset;
    if (start > size_ || tensor.bytes > size_ - start) return std::nullopt;  // cut short since it was read
    WeightSource source;
    source.name = tensor.name;
    source.type_name = tensor.type->name;
    source.K = static_cast<size_t>(tensor.ne[0]);
    source.N = static_cast<size_t>(tensor.ne[1]);
    source.data = data_ + start;
    source.row_bytes = static_cast<size_t>(tensor.bytes / tensor.ne[1]);
    return library_->find(source);
}

}  // namespace rknpu2
