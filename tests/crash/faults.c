/* Preloaded into a stage by the tests: counts the calls that touch files below a folder, and lets one of them go wrong.
 *
 *   BEDTIME_FAULT_BELOW=DIR            absolute, without links; other files are left alone
 *   BEDTIME_FAULT="ACTION CALLS N"     at the N-th call, from 1, of a kind in CALLS (joined by commas); with a fourth word
 *                                      only files with that in their name count:
 *       kill    SIGKILL in place of the call           after   the call, then SIGKILL
 *       eio     this call fails with EIO               enospc  half of the bytes go out, and all later calls fail with ENOSPC
 *       +S -S   CALLS is clock: from now on the time of day is S seconds off
 *   BEDTIME_FAULT_REPORT=FILE          gets the count of each kind at the end, peak memory, and whether the fault was met
 *
 * Kinds: sync (fsync, fdatasync), change (rename, link, unlink), write, read, clock. CLOCK_MONOTONIC never jumps where it
 * matters: the kernel measures waiting with it, and a process that alone saw it jump would wait for what never was.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum kind { SYNC, CHANGE, WRITE, READ, CLOCK, KINDS };
enum outcome { GO_ON, KILL_AFTER, FAIL, HALF };
static const char *const names[KINDS] = {"sync", "change", "write", "read", "clock"};

static long counts[KINDS], met, wanted, offset_s;
static int watched[KINDS], error_number, after, hit;
static char below[PATH_MAX], report[PATH_MAX], part[64];
static size_t below_length;

__attribute__((constructor)) static void begin(void) {
    const char *folder = getenv("BEDTIME_FAULT_BELOW"), *fault = getenv("BEDTIME_FAULT"), *file = getenv("BEDTIME_FAULT_REPORT");
    char action[32] = "", calls[64] = "";
    if (folder) below_length = (size_t)snprintf(below, sizeof below, "%s", folder);
    if (file) snprintf(report, sizeof report, "%s", file);
    if (!fault || sscanf(fault, "%31s %63s %ld %63s", action, calls, &wanted, part) < 3) return;
    for (char *name = strtok(calls, ","); name; name = strtok(NULL, ","))
        for (int kind = 0; kind < KINDS; kind++) watched[kind] |= strcmp(name, names[kind]) == 0;
    after = strcmp(action, "after") == 0;
    error_number = strcmp(action, "eio") == 0 ? EIO : strcmp(action, "enospc") == 0 ? ENOSPC : 0;
    if (action[0] == '+' || action[0] == '-') offset_s = atol(action);
}

__attribute__((destructor)) static void end(void) {
    if (!report[0]) return;
    FILE *status = fopen("/proc/self/status", "r");
    char line[256];
    long peak = 0;
    while (status && fgets(line, sizeof line, status)) sscanf(line, "VmHWM: %ld", &peak);
    if (status) fclose(status);
    FILE *out = fopen(report, "w");
    if (!out) return;
    for (int kind = 0; kind < KINDS; kind++) fprintf(out, "%s %ld\n", names[kind], counts[kind]);
    fprintf(out, "peak_kib %ld\nhit %d\n", peak, hit);
    fclose(out);
}

static void die(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

/* Counts a call and says what becomes of it. */
static enum outcome count(enum kind kind, const char *name) {
    __atomic_add_fetch(&counts[kind], 1, __ATOMIC_SEQ_CST);
    if (!watched[kind] || !strstr(name, part)) return GO_ON;
    long number = __atomic_add_fetch(&met, 1, __ATOMIC_SEQ_CST);
    if (number < wanted) return GO_ON;
    hit = 1;
    if (error_number == ENOSPC) return number == wanted && kind == WRITE ? HALF : FAIL;
    if (number > wanted) return GO_ON;
    if (error_number) return FAIL;
    if (after) return KILL_AFTER;
    if (!offset_s) die();
    return GO_ON;
}

static enum outcome count_path(enum kind kind, const char *path) {
    int ours = below_length && strncmp(path, below, below_length) == 0 && (path[below_length] == '/' || !path[below_length]);
    return ours ? count(kind, path + below_length) : GO_ON;
}

static enum outcome count_file(enum kind kind, int file) {
    char link[40], path[PATH_MAX];
    int saved = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    errno = saved;
    if (length < 0) return GO_ON;
    path[length] = 0;
    return count_path(kind, path);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define CALL(type, name, counted, ...)                                              \
    do {                                                                            \
        enum outcome fate = counted;                                                \
        if (fate == FAIL || fate == HALF) return errno = error_number, (type)-1;    \
        type result = REAL(name)(__VA_ARGS__);                                      \
        if (fate == KILL_AFTER) die();                                              \
        return result;                                                              \
    } while (0)

int fsync(int file) { CALL(int, fsync, count_file(SYNC, file), file); }
int fdatasync(int file) { CALL(int, fdatasync, count_file(SYNC, file), file); }
int rename(const char *from, const char *to) { CALL(int, rename, count_path(CHANGE, to), from, to); }
int link(const char *from, const char *to) { CALL(int, link, count_path(CHANGE, to), from, to); }
int unlink(const char *path) { CALL(int, unlink, count_path(CHANGE, path), path); }
int linkat(int a, const char *from, int b, const char *to, int flags) { CALL(int, linkat, count_path(CHANGE, to), a, from, b, to, flags); }
ssize_t read(int file, void *to, size_t size) { CALL(ssize_t, read, count_file(READ, file), file, to, size); }
ssize_t readv(int file, const struct iovec *to, int n) { CALL(ssize_t, readv, count_file(READ, file), file, to, n); }
ssize_t pread64(int file, void *to, size_t size, off64_t at) { CALL(ssize_t, pread64, count_file(READ, file), file, to, size, at); }

ssize_t write(int file, const void *from, size_t size) {
    enum outcome what = count_file(WRITE, file);
    if (what == HALF && size > 1) return REAL(write)(file, from, size / 2);
    CALL(ssize_t, write, what, file, from, size);
}

ssize_t pwrite64(int file, const void *from, size_t size, off64_t at) {
    enum outcome what = count_file(WRITE, file);
    if (what == HALF && size > 1) return REAL(pwrite64)(file, from, size / 2, at);
    CALL(ssize_t, pwrite64, what, file, from, size, at);
}

ssize_t writev(int file, const struct iovec *from, int n) { CALL(ssize_t, writev, count_file(WRITE, file), file, from, n); }

int clock_gettime(clockid_t clock, struct timespec *time) {
    int result = REAL(clock_gettime)(clock, time);
    if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) {
        count(CLOCK, "");
        if (hit) time->tv_sec += offset_s;
    }
    return result;
}

int gettimeofday(struct timeval *restrict time, void *restrict zone) {
    int result = REAL(gettimeofday)(time, zone);
    count(CLOCK, "");
    if (hit) time->tv_sec += offset_s;
    return result;
}
