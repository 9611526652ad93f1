/* Preloaded into a process: counts how often it has asked the disk to write (fsync and fdatasync). Where FSYNC_COUNT
   names a file, the count stands there for others to read: a long. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static atomic_long own;
static atomic_long *count = &own;

__attribute__((constructor)) static void share(void) {
    const char *path = getenv("FSYNC_COUNT");
    int fd = path ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;
    if (fd < 0)
        return;
    if (ftruncate(fd, sizeof own) == 0) {
        void *shared = mmap(NULL, sizeof own, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (shared != MAP_FAILED)
            count = shared;
    }
    close(fd);
}

long fsync_count(void) { return atomic_load(count); }

static int passed_on(const char *name, int fd) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    atomic_fetch_add(count, 1);
    return real(fd);
}

int fsync(int fd) { return passed_on("fsync", fd); }
int fdatasync(int fd) { return passed_on("fdatasync", fd); }
