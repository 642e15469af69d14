// SPDX-License-Identifier: MIT
// Opens the plug-in as a ggml host does. No ggml is here, and the plug-in must say so in its one line and
// give no registry.
#include <dlfcn.h>
#include <stdio.h>

int main(void) {
    void* const plugin = dlopen(PLUGIN, RTLD_NOW | RTLD_LOCAL);
    if (plugin == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        return 1;
    }
    void* (*init)(void) = NULL;
    *(void**)&init = dlsym(plugin, "ggml_backend_init");
    if (init == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        return 1;
    }
    printf("opened %s\n", PLUGIN);
    return init() == NULL ? 0 : 1;
}
