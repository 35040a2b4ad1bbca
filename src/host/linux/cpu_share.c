/* Control groups and nice values: see cpu_share.h. State: struct cpu_share.
 *
 * A version 2 group may hold processes only if none of its children hands a controller out, so the
 * machine's group is made beside the user's own groups: below the topmost ancestor of ours that we
 * may write to and that has the cpu controller (for root the top, for a user what systemd delegated
 * to him). Linux "Control Group v2", admin-guide/cgroup-v2.rst, "Delegation".
 */
#include "host/linux/cpu_share.h"

#include "control/vm_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define CAP_PERIOD_US 100000u
#define PATH_SIZE 512

/* ---- small files ---- */

static bool write_file(const char *dir, const char *name, const char *text)
{
    char path[PATH_SIZE + 64];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool done = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    if (fd >= 0) {
        close(fd);
    }
    return done;
}

/* Whether the file of words has this one. */
static bool has_word(const char *dir, const char *name, const char *word)
{
    char path[PATH_SIZE + 64], text[1024];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof(text) - 1) : -1;
    if (fd >= 0) {
        close(fd);
    }
    text[n > 0 ? n : 0] = '\0';
    char *save = NULL;
    for (char *w = strtok_r(text, " \n,", &save); w; w = strtok_r(NULL, " \n,", &save)) {
        if (strcmp(w, word) == 0) {
            return true;
        }
    }
    return false;
}

/* ---- where control groups are ---- */

/* The place of a hierarchy in the file system, and of this process in it. controller: "cpu", or ""
 * for version 2. */
struct hierarchy {
    char mount[PATH_SIZE / 2];
    char own[PATH_SIZE / 2]; /* below it; "" for the top */
};

static bool find_mount(const char *controller, struct hierarchy *h)
{
    char line[1024];
    bool found = false;
    FILE *f = fopen("/proc/self/mountinfo", "re");
    while (f && !found && fgets(line, sizeof(line), f)) {
        char type[32], options[256];
        const char *rest = strstr(line, " - ");
        if (!rest || sscanf(line, "%*s %*s %*s %*s %255s", h->mount) != 1 ||
            sscanf(rest, " - %31s %*s %255s", type, options) != 2) {
            continue;
        }
        if (!*controller) {
            found = strcmp(type, "cgroup2") == 0;
            continue;
        }
        char *save = NULL;
        for (char *o = strtok_r(options, ",", &save); o && !found; o = strtok_r(NULL, ",", &save)) {
            found = strcmp(type, "cgroup") == 0 && strcmp(o, controller) == 0;
        }
    }
    if (f) {
        fclose(f);
    }
    return found;
}

/* A line of /proc/self/cgroup is NUMBER:CONTROLLERS:PATH. */
static bool find_own(const char *controller, struct hierarchy *h)
{
    char line[1024];
    bool found = false;
    FILE *f = fopen("/proc/self/cgroup", "re");
    while (f && !found && fgets(line, sizeof(line), f)) {
        line[strcspn(line, "\n")] = '\0';
        char *controllers = strchr(line, ':');
        char *path = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!path) {
            continue;
        }
        *path++ = '\0';
        found = !*controller && !controllers[1];
        char *save = NULL;
        for (char *c = strtok_r(controllers + 1, ",", &save); c && *controller && !found;
             c = strtok_r(NULL, ",", &save)) {
            found = strcmp(c, controller) == 0;
        }
        if (found) {
            snprintf(h->own, sizeof(h->own), "%.*s", (int)sizeof(h->own) - 1,
                     strcmp(path, "/") == 0 ? "" : path);
        }
    }
    if (f) {
        fclose(f);
    }
    return found;
}

/* ---- making one ---- */

static bool make_group(struct cpu_share *s, const char *parent, const char *name)
{
    snprintf(s->group, sizeof(s->group), "%s/ring3.%s.%d", parent, name, (int)getpid());
    if (mkdir(s->group, 0755) != 0) {
        s->group[0] = '\0';
        return false;
    }
    char procs[PATH_SIZE + 32];
    snprintf(procs, sizeof(procs), "%s/cgroup.procs", s->group);
    s->enter_fd = open(procs, O_WRONLY | O_CLOEXEC);
    return s->enter_fd >= 0;
}

static void drop_group(struct cpu_share *s)
{
    if (s->enter_fd >= 0) {
        close(s->enter_fd);
        s->enter_fd = -1;
    }
    if (s->group[0] && vm_group_remove(s->group)) {
        s->group[0] = '\0';
    }
}

static bool set_v2(struct cpu_share *s)
{
    char text[48];
    snprintf(text, sizeof(text), "%u", s->weight);
    bool done = write_file(s->group, "cpu.weight", text);
    snprintf(text, sizeof(text), "%u %u", s->cap * (CAP_PERIOD_US / 100), CAP_PERIOD_US);
    s->group_caps = done && s->cap && write_file(s->group, "cpu.max", text);
    return done;
}

static bool set_v1(struct cpu_share *s)
{
    char period[16], quota[16], shares[16];
    snprintf(shares, sizeof(shares), "%u", s->weight * 1024 / CPU_SHARE_DEFAULT);
    snprintf(period, sizeof(period), "%u", CAP_PERIOD_US);
    snprintf(quota, sizeof(quota), "%u", s->cap * (CAP_PERIOD_US / 100));
    bool done = write_file(s->group, "cpu.shares", shares);
    s->group_caps = done && s->cap && write_file(s->group, "cpu.cfs_period_us", period) &&
                    write_file(s->group, "cpu.cfs_quota_us", quota);
    return done;
}

/* Below `parent`, if it can give us the cpu controller. */
static bool try_v2_parent(struct cpu_share *s, const char *parent, const char *name)
{
    char procs[PATH_SIZE + 32];
    snprintf(procs, sizeof(procs), "%s/cgroup.procs", parent);
    if (!has_word(parent, "cgroup.controllers", "cpu") || access(procs, W_OK) != 0 ||
        (!has_word(parent, "cgroup.subtree_control", "cpu") &&
         !write_file(parent, "cgroup.subtree_control", "+cpu"))) {
        return false;
    }
    if (make_group(s, parent, name) && set_v2(s)) {
        return true;
    }
    drop_group(s);
    return false;
}

static bool try_v2(struct cpu_share *s, const char *name)
{
    struct hierarchy h;
    char parent[PATH_SIZE];
    if (!find_mount("", &h) || !find_own("", &h)) {
        return false;
    }
    size_t top = strlen(h.mount);
    snprintf(parent, sizeof(parent), "%s%s", h.mount, h.own);
    for (size_t end = top;; end++) { /* the top, then one step down at a time */
        if (parent[end] != '/' && parent[end] != '\0') {
            continue;
        }
        char was = parent[end];
        parent[end] = '\0';
        if (try_v2_parent(s, parent, name)) {
            return true;
        }
        parent[end] = was;
        if (!was) {
            return false;
        }
    }
}

static bool try_v1(struct cpu_share *s, const char *name)
{
    struct hierarchy h;
    char parent[PATH_SIZE];
    if (!find_mount("cpu", &h) || !find_own("cpu", &h)) {
        return false;
    }
    for (unsigned own = 0; own < 2; own++) {
        snprintf(parent, sizeof(parent), "%s%s", h.mount, own ? h.own : "");
        if (make_group(s, parent, name) && set_v1(s)) {
            return true;
        }
        drop_group(s);
    }
    return false;
}

/* ---- nice values ---- */

/* A nice value weighs 1.25 times as much as the next. */
int cpu_share_nice(unsigned weight)
{
    int nice = 0;
    double w = CPU_SHARE_DEFAULT;
    while (nice < 19 && w > weight * 1.118) { /* half a step, on that scale */
        w /= 1.25;
        nice++;
    }
    while (nice > -20 && w * 1.118 < weight) {
        w *= 1.25;
        nice--;
    }
    return nice;
}

/* Processes of one session share one weight in the scheduler, where it groups them so. */
static void set_autogroup(const struct cpu_share *s)
{
    char text[16];
    int fd = s->alone ? open("/proc/self/autogroup", O_WRONLY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        int len = snprintf(text, sizeof(text), "%d", s->nice);
        (void)!write(fd, text, (size_t)len);
        close(fd);
    }
}

/* ---- all together ---- */

void cpu_share_open(struct cpu_share *s, const char *name, unsigned weight, unsigned cap,
                    bool alone)
{
    *s = (struct cpu_share){.weight = weight, .cap = cap, .alone = alone, .enter_fd = -1};
    if (!alone && weight == CPU_SHARE_DEFAULT && !cap) {
        return; /* nothing was asked for, and a group costs milliseconds */
    }
    if (try_v2(s, name) || try_v1(s, name)) {
        return;
    }
    s->nice = cpu_share_nice(weight);
    if (s->nice) {
        set_autogroup(s);
    }
}

void cpu_share_enter(const void *share)
{
    const struct cpu_share *s = share;
    if (s->enter_fd >= 0) {
        (void)!write(s->enter_fd, "0", 1);
    } else if (s->nice) {
        (void)!setpriority(PRIO_PROCESS, 0, s->nice);
    }
}

void cpu_share_close(struct cpu_share *s)
{
    drop_group(s);
}

bool cpu_share_falls_short(const struct cpu_share *s, char *why, size_t size)
{
    struct rlimit raise = {0};
    if (s->enter_fd >= 0 || !s->nice) {
        return false;
    }
    getrlimit(RLIMIT_NICE, &raise);
    bool may = s->nice > 0 || geteuid() == 0 || (int)raise.rlim_cur >= 20 - s->nice;
    snprintf(why, size, "--weight %u: no control group can be made here, so %s", s->weight,
             may ? "it holds roughly, by a nice value"
                 : "more than 100 needs the right to raise priorities: it is 100");
    return true;
}
