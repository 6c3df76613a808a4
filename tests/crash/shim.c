/* Loaded before the C library, this sees what a process does to the files of one directory.
 *
 * It writes each call that succeeded, reads left out, into a log, with its data, in the order in which they were carried out; and it makes the n-th call
 * of a kind fail. It covers the calls that SQLite's Unix layer and Python's `os` make (open, write, pwrite, read, pread, ftruncate, fsync,
 * fdatasync, rename, link, unlink). A pwrite that is made to fail has written its first half, as on a full disk; any other failing call has
 * done nothing.
 *
 * SHIM_DIRECTORY  whose files (a real path); nothing else is looked at
 * SHIM_LOG        where the log goes, outside of the directory; without it nothing is logged
 *
 * Several processes may have the same log: it then has the calls of all of them in the order in which they were carried out.
 *
 * A record of the log is a header of native integers and then its path or its data. shim.py reads it. What SQLite writes into a -shm file is left
 * out: that file is an index in shared memory, and whoever opens the store first makes it anew.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/uio.h>
#include <unistd.h>

enum kind { OPEN, CLOSE, WRITE, TRUNCATE, SYNC, LINK, UNLINK, RENAME, READ, KINDS };
enum { CREATED = 1, TRUNCATED = 2, MOST_FILES = 4096 };

struct header {
    int32_t kind, process, descriptor, unused;
    int64_t offset; /* of a write; the new length of a truncation; the flags of an open */
    int32_t first, second;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const char *directory;
static size_t directory_length;
static int log_file = -1;
static char *paths[MOST_FILES]; /* of the open files of the directory */

static long counts[KINDS];
static long fail_at[KINDS], fail_until[KINDS];
static int fail_with[KINDS];
static long failed;

#define REAL(result, name, ...)                                                                                                                      \
    static result (*real_##name)(__VA_ARGS__);                                                                                                       \
    if (!real_##name) real_##name = (result (*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

/* ---- what the process itself may ask for (ctypes) ---- */

void shim_fail(int kind, long first, long times, int number)
{
    pthread_mutex_lock(&lock);
    memset(counts, 0, sizeof counts);
    memset(fail_at, 0, sizeof fail_at);
    failed = 0;
    if (kind >= 0) {
        fail_at[kind] = first;
        fail_until[kind] = first + times;
        fail_with[kind] = number;
    }
    pthread_mutex_unlock(&lock);
}

long shim_count(int kind) { return counts[kind]; }
long shim_failed(void) { return failed; }

/* ---- how ---- */

__attribute__((constructor)) static void start(void)
{
    REAL(int, open64, const char *, int, ...);
    directory = getenv("SHIM_DIRECTORY");
    directory_length = directory ? strlen(directory) : 0;
    const char *path = getenv("SHIM_LOG");
    if (directory && path) log_file = real_open64(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static void enter(void)
{
    pthread_mutex_lock(&lock);
    while (log_file >= 0 && flock(log_file, LOCK_EX))
        if (errno != EINTR) abort();
}

/* errno stays what the call has made it */
static void leave(void)
{
    int number = errno;
    if (log_file >= 0) flock(log_file, LOCK_UN);
    pthread_mutex_unlock(&lock);
    errno = number;
}

static int ours(const char *path)
{
    return directory && path && !strncmp(path, directory, directory_length) && (path[directory_length] == '/' || !path[directory_length]);
}

static const char *path_of(int descriptor) { return descriptor >= 0 && descriptor < MOST_FILES ? paths[descriptor] : NULL; }

static int shared_memory(const char *path)
{
    size_t length = strlen(path);
    return length > 4 && !strcmp(path + length - 4, "-shm");
}

static void note(enum kind kind, int descriptor, int64_t offset, const void *first, size_t first_length, const void *second, size_t second_length)
{
    REAL(ssize_t, write, int, const void *, size_t);
    if (log_file < 0) return;
    struct header header = {kind, getpid(), descriptor, 0, offset, (int32_t)first_length, (int32_t)second_length};
    struct iovec parts[] = {{&header, sizeof header}, {(void *)first, first_length}, {(void *)second, second_length}};
    for (int part = 0; part < 3; part++)
        for (size_t done = 0; done < parts[part].iov_len;) {
            ssize_t count = real_write(log_file, (char *)parts[part].iov_base + done, parts[part].iov_len - done);
            if (count < 0) abort(); /* a record with a hole would prove nothing */
            done += (size_t)count;
        }
}

static int fails(enum kind kind)
{
    counts[kind]++;
    if (!fail_at[kind] || counts[kind] < fail_at[kind] || counts[kind] >= fail_until[kind]) return 0;
    failed++;
    errno = fail_with[kind];
    return 1;
}

/* ---- the calls ---- */

static int opened(int (*real)(const char *, int, ...), const char *path, int flags, mode_t mode)
{
    if (!ours(path)) return real(path, flags, mode);
    int result = -1;
    enter();
    if (!fails(OPEN)) {
        int created = (flags & O_CREAT) && access(path, F_OK);
        result = real(path, flags, mode);
        if (result >= 0 && result < MOST_FILES) {
            free(paths[result]);
            paths[result] = strdup(path);
            if (!shared_memory(path))
                note(OPEN, result, (created ? CREATED : 0) | ((flags & O_TRUNC) ? TRUNCATED : 0), path, strlen(path), NULL, 0);
        }
    }
    leave();
    return result;
}

#define OPENS(name)                                                                                                                                  \
    int name(const char *path, int flags, ...)                                                                                                       \
    {                                                                                                                                                \
        REAL(int, name, const char *, int, ...);                                                                                                     \
        mode_t mode = 0;                                                                                                                             \
        if (flags & O_CREAT) {                                                                                                                       \
            va_list more;                                                                                                                            \
            va_start(more, flags);                                                                                                                   \
            mode = va_arg(more, mode_t);                                                                                                             \
            va_end(more);                                                                                                                            \
        }                                                                                                                                            \
        return opened(real_##name, path, flags, mode);                                                                                               \
    }
OPENS(open)
OPENS(open64)

int close(int descriptor)
{
    REAL(int, close, int);
    if (!path_of(descriptor)) return real_close(descriptor);
    enter();
    if (!shared_memory(paths[descriptor])) note(CLOSE, descriptor, 0, NULL, 0, NULL, 0);
    free(paths[descriptor]);
    paths[descriptor] = NULL;
    int result = real_close(descriptor);
    leave();
    return result;
}

static ssize_t written(int descriptor, const void *data, size_t length, off64_t offset)
{
    REAL(ssize_t, pwrite64, int, const void *, size_t, off64_t);
    ssize_t result = -1;
    int failing = fails(WRITE);
    int number = errno;
    if (failing) length /= 2;
    if (length || !failing) result = real_pwrite64(descriptor, data, length, offset);
    if (!failing) number = errno;
    if (result > 0 && !shared_memory(paths[descriptor])) note(WRITE, descriptor, offset, data, (size_t)result, NULL, 0);
    errno = number;
    return failing ? -1 : result;
}

#define PWRITES(name)                                                                                                                                \
    ssize_t name(int descriptor, const void *data, size_t length, off64_t offset)                                                                    \
    {                                                                                                                                                \
        REAL(ssize_t, name, int, const void *, size_t, off64_t);                                                                                     \
        if (!path_of(descriptor)) return real_##name(descriptor, data, length, offset);                                                              \
        enter();                                                                                                                                     \
        ssize_t result = written(descriptor, data, length, offset);                                                                                  \
        leave();                                                                                                                                     \
        return result;                                                                                                                               \
    }
PWRITES(pwrite)
PWRITES(pwrite64)

ssize_t write(int descriptor, const void *data, size_t length)
{
    REAL(ssize_t, write, int, const void *, size_t);
    if (!path_of(descriptor)) return real_write(descriptor, data, length);
    enter();
    off64_t offset = fcntl(descriptor, F_GETFL) & O_APPEND ? lseek64(descriptor, 0, SEEK_END) : lseek64(descriptor, 0, SEEK_CUR);
    ssize_t result = -1;
    if (!fails(WRITE)) {
        result = real_write(descriptor, data, length);
        if (result > 0 && !shared_memory(paths[descriptor])) note(WRITE, descriptor, offset, data, (size_t)result, NULL, 0);
    }
    leave();
    return result;
}

#define PREADS(name)                                                                                                                                 \
    ssize_t name(int descriptor, void *data, size_t length, off64_t offset)                                                                          \
    {                                                                                                                                                \
        REAL(ssize_t, name, int, void *, size_t, off64_t);                                                                                           \
        if (!path_of(descriptor)) return real_##name(descriptor, data, length, offset);                                                              \
        enter();                                                                                                                                     \
        ssize_t result = fails(READ) ? -1 : real_##name(descriptor, data, length, offset);                                                           \
        leave();                                                                                                                                     \
        return result;                                                                                                                               \
    }
PREADS(pread)
PREADS(pread64)

ssize_t read(int descriptor, void *data, size_t length)
{
    REAL(ssize_t, read, int, void *, size_t);
    if (!path_of(descriptor)) return real_read(descriptor, data, length);
    enter();
    ssize_t result = fails(READ) ? -1 : real_read(descriptor, data, length);
    leave();
    return result;
}

#define TRUNCATES(name)                                                                                                                              \
    int name(int descriptor, off64_t length)                                                                                                         \
    {                                                                                                                                                \
        REAL(int, name, int, off64_t);                                                                                                               \
        if (!path_of(descriptor)) return real_##name(descriptor, length);                                                                            \
        enter();                                                                                                                                     \
        int result = fails(TRUNCATE) ? -1 : real_##name(descriptor, length);                                                                         \
        if (!result && !shared_memory(paths[descriptor])) note(TRUNCATE, descriptor, length, NULL, 0, NULL, 0);                                      \
        leave();                                                                                                                                     \
        return result;                                                                                                                               \
    }
TRUNCATES(ftruncate)
TRUNCATES(ftruncate64)

#define SYNCS(name)                                                                                                                                  \
    int name(int descriptor)                                                                                                                         \
    {                                                                                                                                                \
        REAL(int, name, int);                                                                                                                        \
        if (!path_of(descriptor)) return real_##name(descriptor);                                                                                    \
        enter();                                                                                                                                     \
        int result = fails(SYNC) ? -1 : real_##name(descriptor);                                                                                     \
        if (!result) note(SYNC, descriptor, 0, NULL, 0, NULL, 0);                                                                                    \
        leave();                                                                                                                                     \
        return result;                                                                                                                               \
    }
SYNCS(fsync)
SYNCS(fdatasync)

#define NAMES(name, kind)                                                                                                                            \
    int name(const char *from, const char *to)                                                                                                       \
    {                                                                                                                                                \
        REAL(int, name, const char *, const char *);                                                                                                 \
        if (!ours(to)) return real_##name(from, to);                                                                                                 \
        enter();                                                                                                                                     \
        int result = fails(kind) ? -1 : real_##name(from, to);                                                                                       \
        if (!result) note(kind, -1, 0, from, strlen(from), to, strlen(to));                                                                          \
        leave();                                                                                                                                     \
        return result;                                                                                                                               \
    }
NAMES(link, LINK)
NAMES(rename, RENAME)

int linkat(int from_directory, const char *from, int to_directory, const char *to, int flags)
{
    REAL(int, linkat, int, const char *, int, const char *, int);
    if (from_directory == AT_FDCWD && to_directory == AT_FDCWD && ours(to)) return link(from, to);
    return real_linkat(from_directory, from, to_directory, to, flags);
}

int unlink(const char *path)
{
    REAL(int, unlink, const char *);
    if (!ours(path)) return real_unlink(path);
    enter();
    int result = fails(UNLINK) ? -1 : real_unlink(path);
    if (!result && !shared_memory(path)) note(UNLINK, -1, 0, path, strlen(path), NULL, 0);
    leave();
    return result;
}

/* A process that ends by itself ends between two calls of its other threads: one that was carried out and not recorded, or a record that is cut short
   and takes those after it for its own content, would make a sound file look damaged. */
void _exit(int code)
{
    REAL(void, _exit, int);
    pthread_mutex_lock(&lock);
    real__exit(code);
    abort(); /* not reached */
}
