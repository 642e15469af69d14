// SPDX-License-Identifier: MIT
/* /dev/dma_heap for programs on the simulator: `rknnsim-run --dma-heap PROGRAM` preloads this library.
 *
 * Backends for a board allocate buffers from a heap of the kernel and import them with
 * rknn_create_mem_from_fd. Here opening /dev/dma_heap/NAME gives a file of memory that stands for the heap,
 * DMA_HEAP_IOCTL_ALLOC on it another one that stands for a dma-buf, and DMA_BUF_IOCTL_SYNC on that hands the
 * buffer over as on a board: what the CPU has written becomes visible to the device. Everything else goes to
 * the C library. The two are known by their names, so nothing is kept and nothing is locked; a duplicate, or
 * a descriptor that came through a socket, works as well.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>

/* The kernel's numbers and form: linux/dma-heap.h, linux/dma-buf.h. */
#define ALLOC 0xc0184800UL
#define SYNC 0x40086200UL
struct allocation {
    uint64_t len;
    uint32_t fd;
    uint32_t fd_flags;
    uint64_t heap_flags;
};

static const char kFolder[] = "/dev/dma_heap/";
static const char kHeap[] = "rknnsim-dma-heap";
static const char kBuffer[] = "rknnsim-dma-buf";

/* Numbers above those of standard input, output and error, which a program may have closed. */
static int make(const char* name, int close_on_exec) {
    const int fd = memfd_create(name, close_on_exec ? MFD_CLOEXEC : 0);
    int raised;
    if (fd < 0 || fd > STDERR_FILENO) return fd;
    raised = fcntl(fd, close_on_exec ? F_DUPFD_CLOEXEC : F_DUPFD, STDERR_FILENO + 1);
    close(fd);
    return raised;
}

static int is(int fd, const char* name) {
    char link[64], target[64], wanted[64];
    ssize_t length;
    const int error = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    snprintf(wanted, sizeof wanted, "/memfd:%s", name);
    length = readlink(link, target, sizeof target - 1);
    errno = error;
    return length > 0 && strncmp(target, wanted, strlen(wanted)) == 0;
}

static int is_heap(const char* path) {
    const size_t length = sizeof kFolder - 1;
    return path != NULL && strncmp(path, kFolder, length) == 0 && path[length] != '\0' &&
           strchr(path + length, '/') == NULL;
}

static int allocate(struct allocation* data) {
    const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    int fd;
    if (data == NULL) return errno = EFAULT, -1;
    if (data->len == 0 || data->fd != 0 || (data->fd_flags & ~(uint32_t)(O_CLOEXEC | O_ACCMODE)) != 0 ||
        data->heap_flags != 0)
        return errno = EINVAL, -1;
    fd = make(kBuffer, (data->fd_flags & O_CLOEXEC) != 0);
    if (fd < 0) return -1;
    if (data->len > INT64_MAX - page || ftruncate(fd, (off_t)((data->len + page - 1) / page * page)) != 0) {
        close(fd);
        return errno = ENOMEM, -1;
    }
    data->fd = (uint32_t)fd;
    return 0;
}

/* The simulator may have been linked, or opened by the program for itself. */
static int sync_buffer(int fd, const uint64_t* flags) {
    int (*sync)(int, uint64_t);
    void* library;
    if (flags == NULL) return errno = EFAULT, -1;
    if ((*flags & ~(uint64_t)7) != 0 || (*flags & 3) == 0) return errno = EINVAL, -1;
    *(void**)&sync = dlsym(RTLD_DEFAULT, "rknnsim_dma_sync");
    if (sync == NULL && (library = dlopen("librknnrt.so", RTLD_LAZY | RTLD_NOLOAD)) != NULL) {
        *(void**)&sync = dlsym(library, "rknnsim_dma_sync");
        dlclose(library); /* it stays, as it was there before */
    }
    if (sync != NULL && sync(fd, *flags) != 0) return errno = EIO, -1;
    return 0;
}

#define EXPORT __attribute__((visibility("default")))

#define OPEN(name)                                                        \
    EXPORT int name(const char* path, int flags, ...) {                   \
        int (*next)(const char*, int, ...);                               \
        mode_t mode = 0;                                                  \
        va_list rest;                                                     \
        va_start(rest, flags);                                            \
        if (flags & (O_CREAT | __O_TMPFILE)) mode = va_arg(rest, mode_t); \
        va_end(rest);                                                     \
        if (is_heap(path)) return make(kHeap, (flags & O_CLOEXEC) != 0);  \
        *(void**)&next = dlsym(RTLD_NEXT, #name);                         \
        return next(path, flags, mode);                                   \
    }
#define OPENAT(name)                                                      \
    EXPORT int name(int folder, const char* path, int flags, ...) {       \
        int (*next)(int, const char*, int, ...);                          \
        mode_t mode = 0;                                                  \
        va_list rest;                                                     \
        va_start(rest, flags);                                            \
        if (flags & (O_CREAT | __O_TMPFILE)) mode = va_arg(rest, mode_t); \
        va_end(rest);                                                     \
        if (is_heap(path)) return make(kHeap, (flags & O_CLOEXEC) != 0);  \
        *(void**)&next = dlsym(RTLD_NEXT, #name);                         \
        return next(folder, path, flags, mode);                           \
    }
/* What open() becomes in programs that were compiled with _FORTIFY_SOURCE. */
#define OPEN_2(name)                                                     \
    EXPORT int name(const char* path, int flags);                        \
    EXPORT int name(const char* path, int flags) {                       \
        int (*next)(const char*, int);                                   \
        if (is_heap(path)) return make(kHeap, (flags & O_CLOEXEC) != 0); \
        *(void**)&next = dlsym(RTLD_NEXT, #name);                        \
        return next(path, flags);                                        \
    }

OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)
OPEN_2(__open_2)
OPEN_2(__open64_2)

EXPORT int ioctl(int fd, unsigned long request, ...) {
    int (*next)(int, unsigned long, ...);
    void* argument;
    va_list rest;
    va_start(rest, request);
    argument = va_arg(rest, void*);
    va_end(rest);
    if (request == ALLOC && is(fd, kHeap)) return allocate(argument);
    if (request == SYNC && is(fd, kBuffer)) return sync_buffer(fd, argument);
    *(void**)&next = dlsym(RTLD_NEXT, "ioctl");
    return next(fd, request, argument);
}
