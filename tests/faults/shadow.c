/* A disk that forgets, for machines where FUSE is refused: preload this into the process under test.
 *
 * SHADOW_FOLDER names the folder that is watched, SHADOW_HOME a folder beside it (same file system):
 *
 *     kept/INODE   the bytes of a file as of its last fsync
 *     live/INODE   a hard link to the file itself, so that no inode number is used twice
 *     journal      what happened to names and what was fsynced, in order, a line each
 *     control      struct control below, shared with the test
 *
 * A power cut is kill -9 of every process that was preloaded; then disks.py reads these, decides what
 * survived by the very rules of forgetful.py, and puts it in place of the folder.
 *
 * Seen: open, creat, fopen, write, writev, pwrite, truncate, ftruncate, rename, unlink, mkdir, rmdir,
 * fsync, fdatasync. Written through stdio: seen at the fsync, which then copies the whole file. Not
 * seen: mmap, io_uring, copy_file_range, dup, renames from or to the outside, O_SYNC. One process
 * (and what it forks) writes a file at a time.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define DESCRIPTORS_MAX 65536
#define FILES_MAX 4096
#define CLEAN INT64_MAX

struct control {
    int64_t operations;
    int64_t hold_at;
    int64_t held;
    int64_t fsyncs;
};

struct file {
    ino_t inode;
    int64_t dirty_from; /* bytes from here on may differ from kept/INODE */
    int stdio;          /* written behind our back: dirty from 0 at every fsync */
};

static char folder[PATH_MAX], home[PATH_MAX];
static size_t folder_length;
static dev_t device;
static int journal = -1;
static struct control *control;
static struct file files[FILES_MAX];
static int file_count;
static ino_t inode_of[DESCRIPTORS_MAX];
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;

static int (*real_openat)(int, const char *, int, ...);
static FILE *(*real_fopen)(const char *, const char *);
static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_writev)(int, const struct iovec *, int);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static int (*real_ftruncate)(int, off_t);
static int (*real_truncate)(const char *, off_t);
static int (*real_rename)(const char *, const char *);
static int (*real_unlink)(const char *);
static int (*real_mkdir)(const char *, mode_t);
static int (*real_rmdir)(const char *);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);

static void lock(void) { pthread_mutex_lock(&turn); }
static void unlock(void) { pthread_mutex_unlock(&turn); }

static void fail(const char *what) {
    perror(what);
    abort();
}

/* Other libraries open files in their constructors, before ours has run. */
static void find_real(void) {
    if (real_fdatasync) return;
    real_openat = dlsym(RTLD_NEXT, "openat64");
    real_fopen = dlsym(RTLD_NEXT, "fopen64");
    real_write = dlsym(RTLD_NEXT, "write");
    real_writev = dlsym(RTLD_NEXT, "writev");
    real_pwrite = dlsym(RTLD_NEXT, "pwrite64");
    real_ftruncate = dlsym(RTLD_NEXT, "ftruncate64");
    real_truncate = dlsym(RTLD_NEXT, "truncate64");
    real_rename = dlsym(RTLD_NEXT, "rename");
    real_unlink = dlsym(RTLD_NEXT, "unlink");
    real_mkdir = dlsym(RTLD_NEXT, "mkdir");
    real_rmdir = dlsym(RTLD_NEXT, "rmdir");
    real_fsync = dlsym(RTLD_NEXT, "fsync");
    real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
}

static int real_open(const char *path, int flags) {
    return real_openat(AT_FDCWD, path, flags | O_LARGEFILE | O_CLOEXEC, 0600);
}

__attribute__((constructor)) static void start(void) {
    char path[PATH_MAX + 16];
    struct stat seen;
    find_real();
    const char *watched = getenv("SHADOW_FOLDER"), *beside = getenv("SHADOW_HOME");
    if (!watched || !beside) return;
    if (!realpath(watched, folder) || !realpath(beside, home)) fail("shadow: its folders");
    folder_length = strlen(folder);
    if (stat(home, &seen)) fail("shadow: SHADOW_HOME");
    device = seen.st_dev;
    snprintf(path, sizeof path, "%s/control", home);
    int descriptor = real_open(path, O_RDWR);
    if (descriptor < 0) fail("shadow: control");
    control = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    if (control == MAP_FAILED) fail("shadow: control");
    close(descriptor);
    snprintf(path, sizeof path, "%s/journal", home);
    journal = real_open(path, O_WRONLY | O_APPEND | O_CREAT);
    if (journal < 0) fail("shadow: journal");
    pthread_atfork(lock, unlock, unlock);
}

/* Called with the turn held. Stops for good at the operation the test asked for. */
static void count(void) {
    int64_t now = __atomic_add_fetch(&control->operations, 1, __ATOMIC_SEQ_CST);
    if (now == __atomic_load_n(&control->hold_at, __ATOMIC_SEQ_CST))
        __atomic_store_n(&control->held, 1, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&control->held, __ATOMIC_SEQ_CST)) pause();
}

static void note(const char *format, ...) {
    char line[2 * PATH_MAX + 64];
    va_list arguments;
    int error = errno;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    if (real_write(journal, line, length) != length) fail("shadow: journal");
    errno = error;
}

/* The path below the watched folder, or NULL for one that is not below it. */
static const char *below(const char *path, char *room) {
    if (journal < 0) return NULL;
    if (path[0] == '/') {
        snprintf(room, PATH_MAX, "%s", path);
    } else {
        char here[PATH_MAX];
        while (path[0] == '.' && path[1] == '/') path += 2;
        if (!getcwd(here, sizeof here)) return NULL;
        if (snprintf(room, PATH_MAX, "%s/%s", here, path) >= PATH_MAX) return NULL;
    }
    if (strncmp(room, folder, folder_length) || room[folder_length] != '/') return NULL;
    return room + folder_length + 1;
}

static struct file *known(ino_t inode) {
    for (int i = file_count - 1; i >= 0; i--)
        if (files[i].inode == inode) return &files[i];
    if (file_count == FILES_MAX) fail("shadow: more files than FILES_MAX");
    files[file_count] = (struct file){.inode = inode, .dirty_from = 0};
    return &files[file_count++];
}

/* The file behind a descriptor of ours, or NULL. A number can have gone to another file since. */
static struct file *ours(int descriptor) {
    struct stat seen;
    if (descriptor < 0 || descriptor >= DESCRIPTORS_MAX || !inode_of[descriptor]) return NULL;
    if (fstat(descriptor, &seen) || seen.st_dev != device || seen.st_ino != inode_of[descriptor]) {
        inode_of[descriptor] = 0;
        return NULL;
    }
    return known(seen.st_ino);
}

static void dirty(struct file *file, int64_t from) {
    if (from < file->dirty_from) file->dirty_from = from;
}

/* Called with the turn held, for a descriptor just opened below the folder. */
static struct file *adopt(int descriptor, const char *name, int truncated) {
    char link_path[PATH_MAX + 64], full[PATH_MAX + PATH_MAX];
    struct stat seen;
    if (descriptor < 0 || descriptor >= DESCRIPTORS_MAX || fstat(descriptor, &seen)) return NULL;
    inode_of[descriptor] = seen.st_ino;
    if (!S_ISREG(seen.st_mode)) return NULL;
    struct file *file = known(seen.st_ino);
    snprintf(link_path, sizeof link_path, "%s/live/%ju", home, (uintmax_t)seen.st_ino);
    snprintf(full, sizeof full, "%s/%s", folder, name);
    if (link(full, link_path) == 0)
        note("create\t%ju\t%s\n", (uintmax_t)seen.st_ino, name);
    else if (errno != EEXIST)
        fail("shadow: live");
    if (truncated) dirty(file, 0);
    return file;
}

static int changes(const char *name, const char *path, int flags) {
    struct stat seen;
    if (!name) return 0;
    return (flags & O_TRUNC) || ((flags & O_CREAT) && stat(path, &seen));
}

static int open_any(int at, const char *path, int flags, mode_t mode) {
    char room[PATH_MAX];
    find_real();
    const char *name = at == AT_FDCWD || path[0] == '/' ? below(path, room) : NULL;
    if (!name) {
        int other = real_openat(at, path, flags, mode);
        /* The folder itself, opened for its fsync. */
        if (other >= 0 && other < DESCRIPTORS_MAX) inode_of[other] = 0;
        return other;
    }
    lock();
    if (changes(name, path, flags)) count();
    int descriptor = real_openat(at, path, flags, mode);
    int error = errno;
    if (descriptor >= 0) adopt(descriptor, name, flags & O_TRUNC);
    unlock();
    errno = error;
    return descriptor;
}

#define WITH_MODE(last)                             \
    mode_t mode = 0;                                \
    if (flags & (O_CREAT | __O_TMPFILE)) {          \
        va_list arguments;                          \
        va_start(arguments, last);                  \
        mode = va_arg(arguments, mode_t);           \
        va_end(arguments);                          \
    }

int open(const char *path, int flags, ...) {
    WITH_MODE(flags)
    return open_any(AT_FDCWD, path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    WITH_MODE(flags)
    return open_any(AT_FDCWD, path, flags | O_LARGEFILE, mode);
}

int openat(int at, const char *path, int flags, ...) {
    WITH_MODE(flags)
    return open_any(at, path, flags, mode);
}

int openat64(int at, const char *path, int flags, ...) {
    WITH_MODE(flags)
    return open_any(at, path, flags | O_LARGEFILE, mode);
}

int __open_2(const char *path, int flags) { return open_any(AT_FDCWD, path, flags, 0); }
int __open64_2(const char *path, int flags) { return open_any(AT_FDCWD, path, flags, 0); }

int creat(const char *path, mode_t mode) {
    return open_any(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

FILE *fopen(const char *path, const char *how) {
    char room[PATH_MAX];
    find_real();
    const char *name = below(path, room);
    if (!name) return real_fopen(path, how);
    int flags = how[0] == 'r' ? 0 : how[0] == 'w' ? O_CREAT | O_TRUNC : O_CREAT;
    lock();
    if (changes(name, path, flags)) count();
    FILE *stream = real_fopen(path, how);
    int error = errno;
    if (stream) {
        struct file *file = adopt(fileno(stream), name, flags & O_TRUNC);
        if (file && (flags || strchr(how, '+'))) file->stdio = 1;
    }
    unlock();
    errno = error;
    return stream;
}

FILE *fopen64(const char *path, const char *how) { return fopen(path, how); }

#define MAYBE_OURS(descriptor) \
    ((descriptor) >= 0 && (descriptor) < DESCRIPTORS_MAX && inode_of[descriptor])

/* Where a write that went to the descriptor's own position began. */
static void wrote(int descriptor, struct file *file, ssize_t length) {
    int error = errno;
    if (length > 0) dirty(file, lseek(descriptor, 0, SEEK_CUR) - length);
    errno = error;
}

ssize_t write(int descriptor, const void *bytes, size_t length) {
    find_real();
    if (!MAYBE_OURS(descriptor)) return real_write(descriptor, bytes, length);
    lock();
    struct file *file = ours(descriptor);
    if (file) count();
    ssize_t written = real_write(descriptor, bytes, length);
    if (file) wrote(descriptor, file, written);
    unlock();
    return written;
}

ssize_t writev(int descriptor, const struct iovec *pieces, int piece_count) {
    find_real();
    if (!MAYBE_OURS(descriptor)) return real_writev(descriptor, pieces, piece_count);
    lock();
    struct file *file = ours(descriptor);
    if (file) count();
    ssize_t written = real_writev(descriptor, pieces, piece_count);
    if (file) wrote(descriptor, file, written);
    unlock();
    return written;
}

ssize_t pwrite64(int descriptor, const void *bytes, size_t length, off64_t offset) {
    find_real();
    lock();
    struct file *file = ours(descriptor);
    if (file) count();
    ssize_t written = real_pwrite(descriptor, bytes, length, offset);
    if (file && written > 0) dirty(file, offset);
    unlock();
    return written;
}

ssize_t pwrite(int descriptor, const void *bytes, size_t length, off_t offset) {
    return pwrite64(descriptor, bytes, length, offset);
}

int ftruncate64(int descriptor, off64_t size) {
    find_real();
    lock();
    struct file *file = ours(descriptor);
    if (file) count();
    int result = real_ftruncate(descriptor, size);
    if (file && result == 0) dirty(file, size);
    unlock();
    return result;
}

int ftruncate(int descriptor, off_t size) { return ftruncate64(descriptor, size); }

int truncate64(const char *path, off64_t size) {
    char room[PATH_MAX];
    struct stat seen;
    find_real();
    if (!below(path, room)) return real_truncate(path, size);
    lock();
    count();
    int result = real_truncate(path, size);
    if (result == 0 && stat(path, &seen) == 0) dirty(known(seen.st_ino), size);
    unlock();
    return result;
}

int truncate(const char *path, off_t size) { return truncate64(path, size); }

int rename(const char *old, const char *new) {
    char old_room[PATH_MAX], new_room[PATH_MAX];
    find_real();
    const char *from = below(old, old_room), *to = below(new, new_room);
    if (!from && !to) return real_rename(old, new);
    if (!from || !to) fail("shadow: a rename across the edge of the folder");
    lock();
    count();
    int result = real_rename(old, new);
    if (result == 0) note("rename\t%s\t%s\n", from, to);
    unlock();
    return result;
}

#define ON_PATH(call, word)                      \
    char room[PATH_MAX];                         \
    find_real();                                 \
    const char *name = below(path, room);        \
    if (!name) return call;                      \
    lock();                                      \
    count();                                     \
    int result = call;                           \
    if (result == 0) note(word "\t%s\n", name);  \
    unlock();                                    \
    return result;

int unlink(const char *path) { ON_PATH(real_unlink(path), "remove") }
int rmdir(const char *path) { ON_PATH(real_rmdir(path), "remove") }
int mkdir(const char *path, mode_t mode) { ON_PATH(real_mkdir(path, mode), "mkdir") }

static void copy(int descriptor, struct file *file) {
    char path[PATH_MAX + 64], proc[64], room[1 << 16];
    int64_t offset = file->stdio ? 0 : file->dirty_from;
    struct stat seen;
    snprintf(path, sizeof path, "%s/kept/%ju", home, (uintmax_t)file->inode);
    snprintf(proc, sizeof proc, "/proc/self/fd/%d", descriptor);
    int source = real_open(proc, O_RDONLY);
    int target = real_open(path, O_WRONLY | O_CREAT);
    if (source < 0 || target < 0 || fstat(source, &seen)) fail("shadow: kept");
    if (offset > seen.st_size) offset = seen.st_size;
    for (ssize_t length; (length = pread(source, room, sizeof room, offset)) > 0; offset += length)
        if (real_pwrite(target, room, length, offset) != length) fail("shadow: kept");
    if (real_ftruncate(target, seen.st_size)) fail("shadow: kept");
    close(source);
    close(target);
    file->dirty_from = CLEAN;
}

/* The folder that a descriptor is open on, below the watched one ("" for itself), or NULL. */
static const char *folder_of(int descriptor, char *room) {
    char proc[64];
    struct stat seen;
    if (journal < 0 || fstat(descriptor, &seen) || !S_ISDIR(seen.st_mode)) return NULL;
    snprintf(proc, sizeof proc, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(proc, room, PATH_MAX - 1);
    if (length < (ssize_t)folder_length) return NULL;
    room[length] = 0;
    if (strncmp(room, folder, folder_length)) return NULL;
    if (room[folder_length] == '/') return room + folder_length + 1;
    return room[folder_length] ? NULL : room + folder_length;
}

static int sync_any(int descriptor, int (**real)(int)) {
    find_real();
    char room[PATH_MAX];
    lock();
    const char *name = folder_of(descriptor, room);
    struct file *file = name ? NULL : ours(descriptor);
    if (!name && !file) {
        unlock();
        return (*real)(descriptor);
    }
    count();
    __atomic_add_fetch(&control->fsyncs, 1, __ATOMIC_SEQ_CST);
    if (name) {
        note("sync\t%s\n", name);
    } else {
        copy(descriptor, file);
        note("synced\t%ju\n", (uintmax_t)file->inode);
    }
    unlock();
    return 0;
}

int fsync(int descriptor) { return sync_any(descriptor, &real_fsync); }
int fdatasync(int descriptor) { return sync_any(descriptor, &real_fdatasync); }

/* Starts the writing of bytes and promises nothing. */
int sync_file_range(int descriptor, off64_t offset, off64_t length, unsigned int flags) {
    (void)descriptor, (void)offset, (void)length, (void)flags;
    return 0;
}
