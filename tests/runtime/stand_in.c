// SPDX-License-Identifier: MIT
/* A librknnrt.so with nothing behind it, for tests of how a wrong one is refused.
 *
 * OMIT_<function> leaves one function out; CREATE_CODE is what making a context answers, QUERY_CODE what the
 * version query does; CREATE_REFUSALS is how often a context is refused first. CACHE adds a cache of its own,
 * which notes what it was asked for.
 */
#include <stddef.h>
#include <stdint.h>

#ifndef CREATE_CODE
#define CREATE_CODE (-1)
#endif
#ifndef QUERY_CODE
#define QUERY_CODE (-1)
#endif

#define EXPORT __attribute__((visibility("default")))

typedef uint64_t context;

#ifndef OMIT_rknn_matmul_create_dynamic_shape
EXPORT int rknn_matmul_create_dynamic_shape(context* made, void* info, int count, void* shapes,
                                            void* attributes) {
    (void)info, (void)count, (void)shapes, (void)attributes;
    *made = 1;
#ifdef CREATE_REFUSALS
    static int refused;
    if (refused++ < CREATE_REFUSALS) return -4;
#endif
    return CREATE_CODE;
}
#endif
#ifndef OMIT_rknn_matmul_set_dynamic_shape
EXPORT int rknn_matmul_set_dynamic_shape(context c, void* shape) {
    (void)c, (void)shape;
    return 0;
}
#endif
#ifndef OMIT_rknn_matmul_set_io_mem
EXPORT int rknn_matmul_set_io_mem(context c, void* memory, void* attribute) {
    (void)c, (void)memory, (void)attribute;
    return 0;
}
#endif
#ifndef OMIT_rknn_matmul_set_core_mask
EXPORT int rknn_matmul_set_core_mask(context c, int mask) {
    (void)c, (void)mask;
    return 0;
}
#endif
#ifndef OMIT_rknn_matmul_run
EXPORT int rknn_matmul_run(context c) {
    (void)c;
    return 0;
}
#endif
#ifndef OMIT_rknn_matmul_destroy
EXPORT int rknn_matmul_destroy(context c) {
    (void)c;
    return 0;
}
#endif
#ifndef OMIT_rknn_create_mem
EXPORT void* rknn_create_mem(context c, uint32_t bytes) {
    (void)c, (void)bytes;
    return NULL;
}
#endif
#ifndef OMIT_rknn_create_mem_from_fd
EXPORT void* rknn_create_mem_from_fd(context c, int32_t fd, void* address, uint32_t bytes, int32_t offset) {
    (void)c, (void)fd, (void)address, (void)bytes, (void)offset;
    return NULL;
}
#endif
#ifndef OMIT_rknn_destroy_mem
EXPORT int rknn_destroy_mem(context c, void* memory) {
    (void)c, (void)memory;
    return 0;
}
#endif
#ifndef OMIT_rknn_mem_sync
EXPORT int rknn_mem_sync(context c, void* memory, int direction) {
    (void)c, (void)memory, (void)direction;
    return 0;
}
#endif
#ifndef OMIT_rknn_query
EXPORT int rknn_query(context c, int what, void* answer, uint32_t bytes) {
    (void)c, (void)what, (void)answer, (void)bytes;
    return QUERY_CODE;
}
#endif

#ifdef CACHE
/* Address, bytes and operation of the last call. */
EXPORT unsigned long long last_cache_lines[3];

EXPORT int rknnsim_cache_lines(const void* address, unsigned long long bytes, int operation) {
    last_cache_lines[0] = (unsigned long long)(size_t)address;
    last_cache_lines[1] = bytes;
    last_cache_lines[2] = (unsigned long long)operation;
    return address == NULL ? -5 : 0;
}
#endif
