// SPDX-License-Identifier: MIT
/* A library that calls itself a ggml, has no code, and lacks one function: the plug-in refuses it before it calls any.
 *
 * stub_load(path) loads a plug-in as ggml does, from inside this library.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#define EXPORT __attribute__((visibility("default")))

#define ggml_graph_view stub_lacks_this
#define X(name)               \
    EXPORT void name(void);   \
    EXPORT void name(void) {  \
        abort(); /* called */ \
    }
#define OPTIONAL(name)
#include "ggml/host/ggml_imports.inc"

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
