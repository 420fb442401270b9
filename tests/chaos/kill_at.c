/* Kills the process before its n-th system call that changes a file: for LD_PRELOAD, armed with kill_at(n). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static long calls_left;

void kill_at(long calls) { calls_left = calls; }

static void count(void) {
  if (calls_left > 0 && --calls_left == 0) kill(getpid(), SIGKILL);
}

#define WRAP(type, name, parameters, arguments) \
  type name parameters {                        \
    static type(*real) parameters;              \
    if (!real) real = dlsym(RTLD_NEXT, #name);  \
    count();                                    \
    return real arguments;                      \
  }

WRAP(ssize_t, write, (int fd, const void *data, size_t size), (fd, data, size))
WRAP(ssize_t, pwrite, (int fd, const void *data, size_t size, off_t at), (fd, data, size, at))
WRAP(ssize_t, pwrite64, (int fd, const void *data, size_t size, off64_t at), (fd, data, size, at))
WRAP(int, ftruncate, (int fd, off_t size), (fd, size))
WRAP(int, ftruncate64, (int fd, off64_t size), (fd, size))
WRAP(int, posix_fallocate, (int fd, off_t at, off_t size), (fd, at, size))
WRAP(int, posix_fallocate64, (int fd, off64_t at, off64_t size), (fd, at, size))
WRAP(int, fsync, (int fd), (fd))
WRAP(int, fdatasync, (int fd), (fd))
WRAP(int, rename, (const char *from, const char *to), (from, to))
WRAP(int, renameat, (int a, const char *from, int b, const char *to), (a, from, b, to))
WRAP(int, link, (const char *from, const char *to), (from, to))
WRAP(int, linkat, (int a, const char *from, int b, const char *to, int flags), (a, from, b, to, flags))
WRAP(int, unlink, (const char *path), (path))
WRAP(int, unlinkat, (int dir, const char *path, int flags), (dir, path, flags))
WRAP(int, mkdir, (const char *path, mode_t mode), (path, mode))

#define WRAP_OPEN(name, parameters, ...)                     \
  int name parameters {                                      \
    static int(*real) parameters;                            \
    mode_t mode = 0;                                         \
    if (flags & O_CREAT) {                                   \
      va_list more;                                          \
      va_start(more, flags);                                 \
      mode = va_arg(more, mode_t);                           \
      va_end(more);                                          \
      count();                                               \
    }                                                        \
    if (!real) real = dlsym(RTLD_NEXT, #name);               \
    return real(__VA_ARGS__, flags, mode);                   \
  }

WRAP_OPEN(open, (const char *path, int flags, ...), path)
WRAP_OPEN(open64, (const char *path, int flags, ...), path)
WRAP_OPEN(openat, (int dir, const char *path, int flags, ...), dir, path)
WRAP_OPEN(openat64, (int dir, const char *path, int flags, ...), dir, path)
