// SPDX-License-Identifier: MIT
// Loads the plug-in as ggml does before it knows whether it may use it, and asks for its score:
//
//   score_probe PLUGIN EXPECTED
//   score_probe --canary          executes an instruction of ARMv8.1, which an ARMv8.0 CPU answers with
//   SIGILL
//
// Compiled for ARMv8-A. It ends as a program ends, so that the plug-in's part in that is run, too.
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int canary(void) {
    uint64_t value = 1;
    const uint64_t one = 1;
    __asm__ volatile(".arch_extension lse\n\tstadd %1, [%0]" : : "r"(&value), "r"(one) : "memory");
    return value == 2 ? 0 : 1;
}

int main(int argc, char** argv) {
    if (argc == 2 && strcmp(argv[1], "--canary") == 0) return canary();
    if (argc != 3) return 2;
    void* const plugin = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    if (plugin == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        return 1;
    }
    int (*score)(void) = NULL;
    *(void**)&score = dlsym(plugin, "ggml_backend_score");
    if (score == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        return 1;
    }
    const int got = score();
    printf("score %d, expected %s\n", got, argv[2]);
    dlclose(plugin);
    return got == atoi(argv[2]) ? 0 : 1;
}
