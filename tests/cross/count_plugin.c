// SPDX-License-Identifier: MIT
// A plug-in of QEMU's translator that counts the guest's instructions; loaded with
//
//   qemu-aarch64 -plugin libcount.so,out=FILE PROGRAM
//
// Debian packages QEMU without its own example plug-ins and without the header, so what is used of the
// interface (version 1, as documented by QEMU in docs/devel/tcg-plugins) is declared here. Each translated
// block adds its number of instructions when it is entered, without a call: the program runs about as fast as
// without. A block that is left early by a fault counts whole, which programs that do not fault never see.
// Runs on the PC, not on the simulated CPU.
#include <inttypes.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

struct qemu_plugin_tb;
void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id,
                                           void (*callback)(uint64_t id, struct qemu_plugin_tb* block));
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb* block, int operation, void* counter,
                                              uint64_t value);
void qemu_plugin_register_atexit_cb(uint64_t id, void (*callback)(uint64_t id, void* data), void* data);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb* block);

EXPORT int qemu_plugin_version = 1;

static const int kAddU64 = 0;
static uint64_t instructions;
static char out[4096];

static void on_translate(uint64_t id, struct qemu_plugin_tb* block) {
    (void)id;
    qemu_plugin_register_vcpu_tb_exec_inline(block, kAddU64, &instructions, qemu_plugin_tb_n_insns(block));
}

static void on_exit(uint64_t id, void* data) {
    (void)id;
    (void)data;
    FILE* const file = fopen(out, "w");
    if (file == NULL) return;
    fprintf(file, "%" PRIu64 "\n", instructions);
    fclose(file);
}

EXPORT int qemu_plugin_install(uint64_t id, const void* info, int argc, char** argv) {
    (void)info;
    if (argc != 1 || strncmp(argv[0], "out=", 4) != 0 || strlen(argv[0] + 4) >= sizeof out) return -1;
    strcpy(out, argv[0] + 4);
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translate);
    qemu_plugin_register_atexit_cb(id, on_exit, NULL);
    return 0;
}
