/* Shifts the time of day of the process that it is preloaded into by CLOCK_SHIFT seconds. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

static long shift(void) {
	static long by;
	static int known;
	if (!known) {
		const char *s = getenv("CLOCK_SHIFT");
		by = s ? atol(s) : 0;
		known = 1;
	}
	return by;
}

int gettimeofday(struct timeval *tv, void *tz) {
	static int (*next)(struct timeval *, void *);
	if (!next)
		next = (int (*)(struct timeval *, void *))dlsym(RTLD_NEXT, "gettimeofday");
	int r = next(tv, tz);
	if (r == 0 && tv)
		tv->tv_sec += shift();
	return r;
}

int clock_gettime(clockid_t id, struct timespec *ts) {
	static int (*next)(clockid_t, struct timespec *);
	if (!next)
		next = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
	int r = next(id, ts);
	if (r == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
		ts->tv_sec += shift();
	return r;
}

time_t time(time_t *t) {
	struct timespec ts;
	clock_gettime(CLOCK_REALTIME, &ts);
	if (t)
		*t = ts.tv_sec;
	return ts.tv_sec;
}
