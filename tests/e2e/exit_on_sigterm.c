// SPDX-License-Identifier: MIT
// Preloaded into a program that knows no end (ggml-rpc-server): SIGTERM then ends it as returning from main()
// would, so that destructors run and the plug-in writes its statistics. The programs wait in accept() when
// the signal comes.
#include <signal.h>
#include <stdlib.h>

static void end(int signal_number) {
    (void)signal_number;
    exit(0);
}

__attribute__((constructor)) static void install(void) {
    signal(SIGTERM, end);
}
