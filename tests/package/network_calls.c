// SPDX-License-Identifier: MIT
/* A program that can also run neural networks: it must load, and be told that this is not simulated. The
 * symbols are looked up at run time, as their declarations are the vendor's. */
#include <dlfcn.h>
#include <stdio.h>

int main(int argc, char** argv) {
    static const char* const names[] = {"rknn_init",
                                        "rknn_dup_context",
                                        "rknn_destroy",
                                        "rknn_inputs_set",
                                        "rknn_run",
                                        "rknn_wait",
                                        "rknn_outputs_get",
                                        "rknn_outputs_release",
                                        "rknn_set_core_mask",
                                        "rknn_set_io_mem",
                                        "rknn_set_batch_core_num",
                                        "rknn_set_weight_mem",
                                        "rknn_set_input_shape",
                                        "rknn_set_input_shapes",
                                        "rknn_set_internal_mem",
                                        "rknn_register_custom_ops",
                                        "rknn_custom_op_get_op_attr"};
    void* library = argc == 2 ? dlopen(argv[1], RTLD_NOW) : NULL;
    int bad = 0;
    size_t i;
    if (library == NULL) {
        printf("usage: network_calls LIBRARY\n");
        return 1;
    }
    for (i = 0; i < sizeof names / sizeof names[0]; i++) {
        int (*function)(void*, void*, unsigned, unsigned, void*);
        *(void**)&function = dlsym(library, names[i]);
        if (function != NULL && function(&bad, NULL, 0, 0, NULL) == -1) continue;
        printf("%s: missing, or does not fail\n", names[i]);
        bad = 1;
    }
    { /* what returns memory fails with NULL */
        void* (*function)(unsigned long long, void*, int);
        *(void**)&function = dlsym(library, "rknn_create_mem_from_mb_blk");
        if (function == NULL || function(0, &bad, 0) != NULL) {
            printf("rknn_create_mem_from_mb_blk: missing, or does not fail\n");
            bad = 1;
        }
    }
    return bad;
}
