/* Preloaded into a process: counts how often it has asked the disk to write (fsync and fdatasync). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdatomic.h>

static atomic_long count;

long fsync_count(void) { return atomic_load(&count); }

static int passed_on(const char *name, int fd) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    atomic_fetch_add(&count, 1);
    return real(fd);
}

int fsync(int fd) { return passed_on("fsync", fd); }
int fdatasync(int fd) { return passed_on("fdatasync", fd); }
