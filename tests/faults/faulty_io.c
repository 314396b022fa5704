/* An LD_PRELOAD layer that fails one system call below a path prefix.

   cc -shared -fPIC -O1 -o faulty_io.so faulty_io.c -ldl
   LD_PRELOAD=./faulty_io.so FAULTY_CALL=write FAULTY_PREFIX=/run FAULTY_NTH=3 FAULTY_ERRNO=5 \
     FAULTY_STICKY=0 FAULTY_LOG=/tmp/log command

   The NTH matching call fails with ERRNO, and with STICKY all that follow; LOG gets its path, and
   at the end the number of matching calls. Python calls these through libc. A process that has
   loaded the layer may call faulty_arm instead of setting variables. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static char call_[32], prefix_[PATH_MAX], log_[PATH_MAX];
static int errno_, sticky_, armed_;
static long nth_;
static atomic_long left_;

void faulty_arm(const char *call, const char *prefix, long nth, int number, int sticky,
                const char *log) {
  snprintf(call_, sizeof call_, "%s", call);
  snprintf(prefix_, sizeof prefix_, "%s", prefix);
  snprintf(log_, sizeof log_, "%s", log);
  errno_ = number;
  sticky_ = sticky;
  left_ = nth_ = nth;
  armed_ = 1;
}

__attribute__((constructor)) static void from_environment(void) {
  const char *call = getenv("FAULTY_CALL"), *prefix = getenv("FAULTY_PREFIX");
  if (!call || !prefix) return;
  faulty_arm(call, prefix, atol(getenv("FAULTY_NTH")), atoi(getenv("FAULTY_ERRNO")),
             atoi(getenv("FAULTY_STICKY")), getenv("FAULTY_LOG"));
}

static void note(const char *text) {
  int log = syscall(SYS_openat, AT_FDCWD, log_, O_WRONLY | O_CREAT | O_APPEND, 0666);
  if (log < 0) return;
  syscall(SYS_write, log, text, strlen(text));
  syscall(SYS_close, log);
}

/* A process that ends by itself notes how many calls matched. */
__attribute__((destructor)) static void count(void) {
  char text[40];
  snprintf(text, sizeof text, "calls %ld\n", nth_ - left_);
  if (armed_) note(text);
}

/* Whether this call is the one that fails. Sets errno. */
static int fails(const char *call, const char *path) {
  if (!armed_ || strcmp(call, call_) || !path || strncmp(path, prefix_, strlen(prefix_))) return 0;
  long left = atomic_fetch_sub(&left_, 1);
  if (left > 1 || (left < 1 && !sticky_)) return 0;
  char text[PATH_MAX + 10];
  snprintf(text, sizeof text, "failed %s\n", path);
  note(text);
  errno = errno_;
  return 1;
}

static int fails_at(const char *call, int fd) {
  if (!armed_ || strcmp(call, call_)) return 0;
  char link[40], path[PATH_MAX];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  int saved = errno;
  ssize_t size = syscall(SYS_readlink, link, path, sizeof path - 1);
  errno = saved;
  if (size < 0) return 0;
  path[size] = 0;
  return fails(call, path);
}

static int fails_below(const char *call, int fd, const char *name) {
  if (!armed_ || strcmp(call, call_)) return 0;
  if (!name || name[0] == '/' || fd == AT_FDCWD) return fails(call, name);
  return fails_at(call, fd);
}

#define REAL(name) \
  static __typeof__(name) *real; \
  if (!real) real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)
#define MODE va_list list; va_start(list, flags); mode_t mode = va_arg(list, mode_t); va_end(list)

#define OPEN(name) \
  int name(const char *path, int flags, ...) { \
    REAL(name); MODE; \
    return fails("open", path) ? -1 : real(path, flags, mode); \
  }
OPEN(open)
OPEN(open64)
#define OPENAT(name) \
  int name(int fd, const char *path, int flags, ...) { \
    REAL(name); MODE; \
    return fails_below("open", fd, path) ? -1 : real(fd, path, flags, mode); \
  }
OPENAT(openat)
OPENAT(openat64)

/* A function whose first argument is a descriptor. */
#define BY_FD(call, type, name, parameters, arguments) \
  type name parameters { \
    REAL(name); \
    return fails_at(call, fd) ? (type)-1 : real arguments; \
  }
BY_FD("write", ssize_t, write, (int fd, const void *b, size_t n), (fd, b, n))
BY_FD("write", ssize_t, pwrite, (int fd, const void *b, size_t n, off_t o), (fd, b, n, o))
BY_FD("write", ssize_t, pwrite64, (int fd, const void *b, size_t n, off64_t o), (fd, b, n, o))
BY_FD("write", ssize_t, writev, (int fd, const struct iovec *v, int n), (fd, v, n))
BY_FD("write", ssize_t, pwritev, (int fd, const struct iovec *v, int n, off_t o), (fd, v, n, o))
BY_FD("write", ssize_t, pwritev64, (int fd, const struct iovec *v, int n, off64_t o), (fd, v, n, o))
BY_FD("write", int, ftruncate, (int fd, off_t n), (fd, n))
BY_FD("write", int, ftruncate64, (int fd, off64_t n), (fd, n))
BY_FD("read", ssize_t, read, (int fd, void *b, size_t n), (fd, b, n))
BY_FD("read", ssize_t, pread, (int fd, void *b, size_t n, off_t o), (fd, b, n, o))
BY_FD("read", ssize_t, pread64, (int fd, void *b, size_t n, off64_t o), (fd, b, n, o))
BY_FD("read", ssize_t, preadv, (int fd, const struct iovec *v, int n, off_t o), (fd, v, n, o))
BY_FD("read", ssize_t, preadv64, (int fd, const struct iovec *v, int n, off64_t o), (fd, v, n, o))
BY_FD("fsync", int, fsync, (int fd), (fd))
BY_FD("fsync", int, fdatasync, (int fd), (fd))

/* Allocations return the error. */
#define ALLOCATE(name, type) \
  int name(int fd, type offset, type size) { \
    REAL(name); \
    return fails_at("write", fd) ? errno : real(fd, offset, size); \
  }
ALLOCATE(posix_fallocate, off_t)
ALLOCATE(posix_fallocate64, off64_t)

/* The descriptor is closed even if that fails, as on Linux. */
int close(int fd) {
  REAL(close);
  int failed = fails_at("close", fd), number = errno;
  int result = real(fd);
  if (failed) errno = number;
  return failed ? -1 : result;
}

int rename(const char *from, const char *to) {
  REAL(rename);
  return fails("rename", to) ? -1 : real(from, to);
}
int renameat(int fd, const char *from, int other, const char *to) {
  REAL(renameat);
  return fails_below("rename", other, to) ? -1 : real(fd, from, other, to);
}
int renameat2(int fd, const char *from, int other, const char *to, unsigned flags) {
  REAL(renameat2);
  return fails_below("rename", other, to) ? -1 : real(fd, from, other, to, flags);
}
int mkdir(const char *path, mode_t mode) {
  REAL(mkdir);
  return fails("mkdir", path) ? -1 : real(path, mode);
}
int unlink(const char *path) {
  REAL(unlink);
  return fails("unlink", path) ? -1 : real(path);
}
