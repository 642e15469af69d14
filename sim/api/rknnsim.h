// SPDX-License-Identifier: MIT
/* What the simulator offers besides the vendor's interface: counters and a look at its choices. Plain C99.
 *
 * A program that has opened some librknnrt.so can tell the simulator from the real thing by looking for
 * rknnsim_live with dlsym.
 */
#ifndef RKNNSIM_RKNNSIM_H
#define RKNNSIM_RKNNSIM_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct rknnsim_live_counts {
    uint64_t contexts;         /* alive */
    uint64_t memories;         /* alive, imports included */
    uint64_t bytes;            /* of IOVA in use, over all domains */
    uint64_t domain_bytes[16]; /* of IOVA in use, by domain */
    uint64_t runs;             /* that succeeded since the start */
    uint64_t macs;             /* multiply-accumulate operations in them */
};

/* 0, or -1 when `counts` is NULL or the settings are bad. */
int rknnsim_live(struct rknnsim_live_counts* counts);

/* "reference", "generic" or "avx2". */
const char* rknnsim_kernel(void);

/* How often the checker (RKNNSIM_CHECK) has found that the rule was broken, or any rule when it is NULL. The
 * names are those in the messages: missing-sync, needless-sync, stale-input, uncomputed, use-after-destroy,
 * double-destroy, leak, small-buffer, overrun, two-threads, wrong-domain, padding, many-contexts, overlap,
 * unwritten, clipped, int4-input, import-sync, dirty-result, unread-result. 0 for an unknown name. */
uint64_t rknnsim_check_count(const char* rule);

/* How many calls, runs and requests for memory RKNNSIM_FAULTS has made fail since the start. */
uint64_t rknnsim_fault_count(void);

/* 1: from now on RKNNSIM_FAULTS makes nothing fail, and counts neither calls nor failures. A core that hangs
 * still does. 0: all goes on from where it was. Returns 0, or -1 when the settings are bad. For tests. */
int rknnsim_pause_faults(int paused);

/* Tells the checker that only the first k of the context's K are the program's own (1 to K) and the rest is
 * padding, which then must be zero in A and B at every run. Returns as the vendor's functions do. */
int rknnsim_declare_k(uint64_t ctx, int32_t k);

/* DMA_BUF_IOCTL_SYNC with these flags, on a buffer that was imported with rknn_create_mem_from_fd: the end of
 * writing (2 and 4) makes what the CPU has stored visible to the device. 0, also for a buffer that nobody
 * imported. For rknnsim-run --dma-heap, which has no kernel to ask. */
int rknnsim_dma_sync(int fd, uint64_t flags);

/* What a program does to the CPU's cache without the runtime, by instructions, for every line of 64 bytes
 * that [address, address + bytes) touches, and no other: operation 1 cleans (dc cvac on ARM), 2 cleans and
 * invalidates (dc civac); both as if a dsb followed. `address` is where the program sees the buffer. 0, or -5
 * for another operation and for memory that is not within one buffer. Whoever finds this function in the
 * runtime library calls it instead of the instructions, which mean nothing to the simulator. */
int rknnsim_cache_lines(const void* address, uint64_t bytes, int operation);

/* Copies what the device sees at [address, address + bytes) of a buffer to `to`; where the simulator does not
 * follow that, what the CPU sees. Changes nothing. Returns 0, or -5 for memory that is not within one buffer.
 * For tests. */
int rknnsim_device_bytes(const void* address, uint64_t bytes, void* to);

/* Starts afresh: reads the settings again and counts from 0. Returns 0, or -1 while any context or memory is
 * alive. For tests. */
int rknnsim_reset(void);

#ifdef __cplusplus
}
#endif

#endif
