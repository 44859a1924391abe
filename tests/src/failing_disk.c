/* Preloaded into a process: reads and writes of chosen files fail as a disk does, or they lie on another file system, while a file says so.
 *
 * $FAILING_DISK_RULES names that file; each line is `read|write ERRNO FROM SUFFIX`: from byte FROM on, such calls on paths
 * that end with SUFFIX fail; or `statfs MAGIC 0 SUFFIX`. The kernel is asked directly, so nothing here calls what it replaces. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

static int rule(const char *doing, const char *path, int fd, off_t from) {
    const char *rules = getenv("FAILING_DISK_RULES");
    char text[1024];
    if (!rules) return 0;
    int file = syscall(SYS_openat, AT_FDCWD, rules, O_RDONLY | O_CLOEXEC);
    if (file < 0) return 0;
    long size = syscall(SYS_read, file, text, sizeof text - 1);
    syscall(SYS_close, file);
    if (size <= 0) return 0;
    text[size] = 0;
    long length = strlen(path);
    char *rest = text;
    for (char *line; (line = strsep(&rest, "\n"));) {
        char kind[16], suffix[256];
        int error;
        long begin;
        if (sscanf(line, "%15s %d %ld %255s", kind, &error, &begin, suffix) != 4 || strcmp(kind, doing)) continue;
        long end = strlen(suffix);
        if (length < end || strcmp(path + length - end, suffix)) continue;
        if (from < 0) from = syscall(SYS_lseek, fd, 0L, SEEK_CUR);
        if (from >= begin) return error;
    }
    return 0;
}

static int fails(const char *doing, int fd, off_t from) {
    char link[64], path[1024];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    long length = syscall(SYS_readlinkat, AT_FDCWD, link, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return rule(doing, path, fd, from);
}

#define FAILING(doing, fd, from)                 \
    do {                                         \
        int error = fails(doing, fd, from);      \
        if (error) { errno = error; return -1; } \
    } while (0)

ssize_t read(int fd, void *to, size_t n) {
    FAILING("read", fd, -1);
    return syscall(SYS_read, fd, to, n);
}
ssize_t pread(int fd, void *to, size_t n, off_t at) {
    FAILING("read", fd, at);
    return syscall(SYS_pread64, fd, to, n, at);
}
ssize_t pread64(int fd, void *to, size_t n, off_t at) { return pread(fd, to, n, at); }
ssize_t write(int fd, const void *from, size_t n) {
    FAILING("write", fd, -1);
    return syscall(SYS_write, fd, from, n);
}
ssize_t pwrite(int fd, const void *from, size_t n, off_t at) {
    FAILING("write", fd, at);
    return syscall(SYS_pwrite64, fd, from, n, at);
}
ssize_t pwrite64(int fd, const void *from, size_t n, off_t at) { return pwrite(fd, from, n, at); }
int fdatasync(int fd) {
    FAILING("write", fd, 0);
    return syscall(SYS_fdatasync, fd);
}
int fsync(int fd) {
    FAILING("write", fd, 0);
    return syscall(SYS_fsync, fd);
}
int statfs(const char *path, struct statfs *to) {
    long done = syscall(SYS_statfs, path, to);
    int magic = done ? 0 : rule("statfs", path, -1, 0);
    if (magic) to->f_type = magic;
    return done;
}
int statfs64(const char *path, struct statfs64 *to) { return statfs(path, (struct statfs *)to); }
