// SPDX-License-Identifier: MIT
/* A library that calls itself a ggml and has no code, for tests of whom the plug-in refuses.
 *
 * STUB_VERSION is what ggml_version() answers; without it there is no such function. STUB_OMITS names one
 * function that is left out. stub_load(path) loads a plug-in as ggml does, from inside this library.
 */
#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define EXPORT __attribute__((visibility("default")))

/* Names of our own for those that are written out below or left out. */
#define ggml_version stub_unused_1
#define ggml_log_internal stub_unused_2
#define ggml_backend_dev_by_type stub_unused_3
#ifdef STUB_OMITS
#define ggml_graph_view stub_unused_4
#endif
#define X(name)               \
    EXPORT void name(void);   \
    EXPORT void name(void) {  \
        abort(); /* called */ \
    }
#include "ggml/host/ggml_imports.inc"
#undef X
#undef ggml_version
#undef ggml_log_internal
#undef ggml_backend_dev_by_type

#ifdef STUB_VERSION
EXPORT const char* ggml_version(void);
EXPORT const char* ggml_version(void) {
    return STUB_VERSION;
}
#endif

EXPORT void* ggml_backend_dev_by_type(int type);
EXPORT void* ggml_backend_dev_by_type(int type) {
    (void)type;
    return NULL;
}

EXPORT void ggml_log_internal(int level, const char* pattern, ...);
EXPORT void ggml_log_internal(int level, const char* pattern, ...) {
    va_list values;
    va_start(values, pattern);
    fprintf(stderr, "log %d: ", level);
    vfprintf(stderr, pattern, values);
    va_end(values);
}

/* What ggml_backend_init() of the plug-in answers. */
EXPORT void* stub_load(const char* path);
EXPORT void* stub_load(const char* path) {
    void* (*init)(void) = NULL;
    void* const library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    void* answer = NULL;
    if (library == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        return NULL;
    }
    *(void**)&init = dlsym(library, "ggml_backend_init");
    answer = init != NULL ? init() : NULL; /* no tail call: the plug-in looks at its return address */
    fflush(stderr);
    return answer;
}
