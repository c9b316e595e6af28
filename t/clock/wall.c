/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * Loaded into nginx by t/lib/Token/Clock.pm: a wall clock that a test sets.
 * The file that TEST_CLOCK names has the microseconds by which it is ahead.
 */


#define _GNU_SOURCE

#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>


static volatile int64_t  *ahead;


/* the mapping is the file's, in workers as well */

__attribute__((constructor)) static void
wall_init(void)
{
    int          fd;
    void        *p;
    const char  *name;

    name = getenv("TEST_CLOCK");
    if (name == NULL) {
        return;
    }

    fd = open(name, O_RDONLY | O_CLOEXEC);
    if (fd == -1) {
        return;
    }

    p = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, fd, 0);
    close(fd);

    if (p != MAP_FAILED) {
        ahead = p;
    }
}


int
clock_gettime(clockid_t id, struct timespec *ts)
{
    int      rc;
    int64_t  usec;

    rc = syscall(SYS_clock_gettime, id, ts);

    if (rc == 0 && ahead
        && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
    {
        usec = (int64_t) ts->tv_sec * 1000000 + ts->tv_nsec / 1000 + *ahead;

        ts->tv_sec = usec / 1000000;
        ts->tv_nsec = usec % 1000000 * 1000;
    }

    return rc;
}


int
gettimeofday(struct timeval *tv, void *tz)
{
    struct timespec  ts;

    (void) tz;

    if (clock_gettime(CLOCK_REALTIME, &ts) != 0) {
        return -1;
    }

    tv->tv_sec = ts.tv_sec;
    tv->tv_usec = ts.tv_nsec / 1000;

    return 0;
}


time_t
time(time_t *t)
{
    struct timespec  ts;

    if (clock_gettime(CLOCK_REALTIME, &ts) != 0) {
        return -1;
    }

    if (t) {
        *t = ts.tv_sec;
    }

    return ts.tv_sec;
}
