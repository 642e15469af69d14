// SPDX-License-Identifier: MIT
// A process that runs out of threads: pthread_create() fails as told.
//
// A program that is linked with failing_threads.cpp tells it by these functions. The library
// rknpu2_failing_threads (LD_PRELOAD) does what the environment says: RKNPU2_TEST_FAIL_THREADS="FIRST,COUNT"
// or RKNPU2_TEST_MOST_THREADS="MOST".
#pragma once

// Calls `first` to `first + count - 1` from now on fail; first 0: none do.
extern "C" void fail_threads(int first, int count);
// There may be `most` threads at a time besides those that are there already; -1: any number.
extern "C" void limit_threads(int most);
// Calls since then, and those of them that failed.
extern "C" int thread_calls();
extern "C" int failed_threads();
