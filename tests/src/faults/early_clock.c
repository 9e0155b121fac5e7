/* Lets libfaketime and jemalloc live in one process.
 *
 * When it is first called, libfaketime looks up symbols that it may not find, and for that the dynamic
 * linker allocates. jemalloc, which takes malloc's place, asks for the time and makes a condition
 * variable when it is first called; both are libfaketime's, which looks up the same symbols, and
 * allocates: jemalloc's start waits for itself. So until both have started, it gets them from here.
 * To be preloaded in front of libfaketime.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

typedef int gettime(clockid_t clock, struct timespec *time);
typedef int init(pthread_cond_t *cond, const pthread_condattr_t *attributes);

static gettime *next_gettime;
static init *next_init;

int clock_gettime(clockid_t clock, struct timespec *time) {
    return next_gettime ? next_gettime(clock, time) : (int)syscall(SYS_clock_gettime, clock, time);
}

/* jemalloc's has no attributes: as PTHREAD_COND_INITIALIZER makes it. */
int pthread_cond_init(pthread_cond_t *cond, const pthread_condattr_t *attributes) {
    if (next_init)
        return next_init(cond, attributes);
    memset(cond, 0, sizeof *cond);
    return 0;
}

/* Runs behind those of all libraries. */
__attribute__((constructor)) static void started(void) {
    next_gettime = (gettime *)dlsym(RTLD_NEXT, "clock_gettime");
    next_init = (init *)dlsym(RTLD_NEXT, "pthread_cond_init");
}
