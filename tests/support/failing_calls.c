/* Preloaded into a process: makes the n-th system call fail of those that saving a file is made of. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/types.h>
#include <unistd.h>

static int countdown, calls, code;

/* Let the n-th call from now fail with an error number; 0: none. Returns how many there were since the last time. */
int failing_calls(int n, int error) {
    int made = calls;
    countdown = n, code = error, calls = 0;
    return made;
}

static int fails(void) {
    calls++;
    if (countdown == 0 || --countdown > 0) return 0;
    errno = code;
    return 1;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define OPEN(name)                                               \
    int name(const char *path, int flags, ...) {                 \
        va_list arguments;                                       \
        va_start(arguments, flags);                              \
        mode_t mode = va_arg(arguments, mode_t);                 \
        va_end(arguments);                                       \
        return fails() ? -1 : REAL(name)(path, flags, mode);     \
    }

OPEN(open)
OPEN(open64)
ssize_t write(int file, const void *bytes, size_t size) { return fails() ? -1 : REAL(write)(file, bytes, size); }
int fsync(int file) { return fails() ? -1 : REAL(fsync)(file); }
int rename(const char *from, const char *to) { return fails() ? -1 : REAL(rename)(from, to); }
int unlink(const char *path) { return fails() ? -1 : REAL(unlink)(path); }
int flock(int file, int operation) { return fails() ? -1 : REAL(flock)(file, operation); }
DIR *opendir(const char *path) { return fails() ? NULL : REAL(opendir)(path); }
