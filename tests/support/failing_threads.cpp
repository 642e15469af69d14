// SPDX-License-Identifier: MIT
#include "support/failing_threads.hpp"

#include <dlfcn.h>
#include <pthread.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>

namespace {

std::atomic<int> the_first{0};
std::atomic<int> the_count{0};
std::atomic<int> the_most{-1};
std::atomic<int> alive{0};
std::atomic<int> calls{0};
std::atomic<int> failures{0};

int number_in(const char* variable) {
    const char* const text = std::getenv(variable);
    return text == nullptr ? -1 : std::atoi(text);
}

[[gnu::constructor]] void read_environment() {
    const char* const text = std::getenv("RKNPU2_TEST_FAIL_THREADS");
    int first = 0;
    int count = 0;
    if (text != nullptr && std::sscanf(text, "%d,%d", &first, &count) == 2) fail_threads(first, count);
    if (const int most = number_in("RKNPU2_TEST_MOST_THREADS"); most >= 0) limit_threads(most);
}

struct Start {
    void* (*body)(void*);
    void* argument;
};

// The end of a thread counts however it comes about.
struct Alive {
    ~Alive() { --alive; }
};

void* run(void* argument) {
    const Start start = *static_cast<Start*>(argument);
    delete static_cast<Start*>(argument);
    const Alive here;
    return start.body(start.argument);
}

bool must_fail() {
    const int call = ++calls;
    const int first = the_first;
    const int most = the_most;
    const bool fails =
        (first > 0 && call >= first && call - first < the_count) || (most >= 0 && alive >= most);
    if (fails) ++failures;
    return fails;
}

}  // namespace

extern "C" void fail_threads(int first, int count) {
    the_first = 0;
    calls = 0;
    failures = 0;
    the_count = count;
    the_first = first;
}

extern "C" void limit_threads(int most) {
    alive = 0;
    failures = 0;
    the_most = most;
}

extern "C" int thread_calls() {
    return calls;
}

extern "C" int failed_threads() {
    return failures;
}

extern "C" __attribute__((visibility("default"))) int pthread_create(pthread_t* thread,
                                                                     const pthread_attr_t* attributes,
                                                                     void* (*body)(void*), void* argument) {
    static const auto create =
        reinterpret_cast<decltype(&::pthread_create)>(dlsym(RTLD_NEXT, "pthread_create"));
    if (must_fail()) return EAGAIN;
    auto* const start = new Start{body, argument};
    ++alive;
    const int answer = create(thread, attributes, run, start);
    if (answer != 0) {
        --alive;
        delete start;
    }
    return answer;
}
