// SPDX-License-Identifier: MIT
// What AddressSanitizer assumes in our programs and tests; ASAN_OPTIONS adds to it.
//
// LeakSanitizer guesses the size of a library's thread-local block from the bytes before it when the block
// lies 16 bytes behind the begin of a page, as glibc's own allocator once placed them. AddressSanitizer's
// allocator places blocks so by chance, and then the check for leaks at exit crashes ("Tracer caught signal
// 11") now and then, in programs that open libraries at run time. Without the interception it does not look
// at such blocks; what only they point to would be reported as a leak, not missed.
__attribute__((visibility("default"))) const char* __asan_default_options(void);
const char* __asan_default_options(void) {
    return "intercept_tls_get_addr=0";
}

// A forked child has one of its parent's threads, so what only the stacks of the others point to looks lost
// there. A test sets this in such a child, and the check for leaks at exit is left out.
__attribute__((visibility("default"))) int rknpu2_no_leak_check = 0;
__attribute__((visibility("default"))) int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void) {
    return rknpu2_no_leak_check;
}
