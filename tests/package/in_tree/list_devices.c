// SPDX-License-Identifier: MIT
// A host of few lines: loads every backend that ggml finds by itself, and prints the devices.
#include <stdio.h>

#include "ggml-backend.h"

int main(void) {
    ggml_backend_load_all();
    for (size_t i = 0; i < ggml_backend_dev_count(); ++i) {
        ggml_backend_dev_t device = ggml_backend_dev_get(i);
        printf("%s: %s\n", ggml_backend_dev_name(device), ggml_backend_dev_description(device));
    }
    return 0;
}
