// SPDX-License-Identifier: MIT
// What the operating system says about memory, and pages that it may take back.
#pragma once

#include <cstddef>
#include <string>

#include "base/status.hpp"

namespace rknpu2 {

struct SystemMemory {
    size_t total = 0;      // bytes
    size_t available = 0;  // bytes that can be had without swapping
};

// Is there room for `bytes` of derived forms of weights? An eighth of the machine's memory must stay free: for weights
// still to be packed, the KV cache, and everybody else. kOutOfMemory: "needs 900 MiB; ..."
Status check_memory(size_t bytes, const SystemMemory& memory);

// From /proc/meminfo below `root`; zeros where that cannot be read.
SystemMemory system_memory(const std::string& root = "");

// True if [data, data + bytes) lies in *shared* mappings of a file, as a memory-mapped model does. Only such
// pages may be given back: they can be read again, while private ones would lose what was written to them.
bool is_shared_file_mapping(const void* data, size_t bytes);

// Lets the OS take back the whole pages inside [data, data + bytes), which is_shared_file_mapping(). A later
// read brings them back from the file. Locked pages stay.
void give_back_pages(const void* data, size_t bytes);

// A hint: brings the pages of [data, data + bytes) in at once, which is cheaper than a fault for each.
enum class PageUse { kRead, kWrite };
void bring_pages(const void* data, size_t bytes, PageUse use);

}  // namespace rknpu2
