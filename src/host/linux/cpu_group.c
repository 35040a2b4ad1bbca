/* Making control groups: see cpu_group.h. No state. Runs in the launcher, before there are tasks;
 * cpu_group_enter in tasks.
 */
#include "host/linux/cpu_group.h"

#include "control/vm_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define CAP_PERIOD_US 100000u
#define WEIGHT_DEFAULT 100u
#define FILE_SIZE (CPU_GROUP_PATH + 64)
#define TRIES 3u

/* What the machine's group is to be. */
struct want {
    const char *name;
    unsigned weight, cap;
};

/* ---- small files ---- */

static bool write_file(const char *dir, const char *name, const char *text)
{
    char path[FILE_SIZE];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool done = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    if (fd >= 0) {
        close(fd);
    }
    return done;
}

/* What is in a file; an empty text when it cannot be read. */
static void read_file(const char *dir, const char *name, char *text, size_t size)
{
    char path[FILE_SIZE];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, size - 1) : -1;
    if (fd >= 0) {
        close(fd);
    }
    text[n > 0 ? n : 0] = '\0';
}

/* Whether the words, with blanks or commas between them, have this one. Changes the text. */
static bool has_word(char *words, const char *word)
{
    char *save = NULL;
    for (char *w = strtok_r(words, " \n,", &save); w; w = strtok_r(NULL, " \n,", &save)) {
        if (strcmp(w, word) == 0) {
            return true;
        }
    }
    return false;
}

static bool file_has_word(const char *dir, const char *name, const char *word)
{
    char text[1024];
    read_file(dir, name, text, sizeof(text));
    return has_word(text, word);
}

/* ---- where control groups are ---- */

/* The place of a hierarchy in the file system, and of this process in it. */
struct hierarchy {
    char mount[CPU_GROUP_PATH / 2];
    char root[CPU_GROUP_PATH / 2]; /* the group that is mounted there; "" for the top */
    char own[CPU_GROUP_PATH / 2];  /* below the mount; "" for its top */
};

/* controller: "cpu", or "" for version 2. */
static bool find_mount(const char *controller, struct hierarchy *h)
{
    char line[2048];
    bool found = false;
    FILE *f = fopen("/proc/self/mountinfo", "re");
    while (f && !found && fgets(line, sizeof(line), f)) {
        char type[32], options[256];
        const char *rest = strstr(line, " - ");
        if (!rest || sscanf(line, "%*s %*s %*s %255s %255s", h->root, h->mount) != 2 ||
            sscanf(rest, " - %31s %*s %255s", type, options) != 2) {
            continue;
        }
        found = *controller ? strcmp(type, "cgroup") == 0 && has_word(options, controller)
                            : strcmp(type, "cgroup2") == 0;
    }
    if (f) {
        fclose(f);
    }
    if (strcmp(h->root, "/") == 0) {
        h->root[0] = '\0';
    }
    return found;
}

/* A group's name as seen from the mount; "" where that does not show it. */
static const char *seen_from(const struct hierarchy *h, const char *path)
{
    size_t len = strlen(h->root);
    bool below = strncmp(path, h->root, len) == 0 && (path[len] == '/' || !path[len]);
    bool outside = strncmp(path, "/..", 3) == 0; /* of the namespace */
    return !below || outside || strcmp(path + len, "/") == 0 ? "" : path + len;
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
        found = *controller ? has_word(controllers + 1, controller) : !controllers[1];
        if (found) {
            snprintf(h->own, sizeof(h->own), "%.*s", (int)sizeof(h->own) - 1, seen_from(h, path));
        }
    }
    if (f) {
        fclose(f);
    }
    return found;
}

static bool find(const char *controller, struct hierarchy *h)
{
    return find_mount(controller, h) && find_own(controller, h);
}

bool cpu_group_has_controller(const char *path)
{
    struct hierarchy h;
    char dir[CPU_GROUP_PATH];
    if (!find("", &h)) {
        return false;
    }
    snprintf(dir, sizeof(dir), "%s%.*s", h.mount, CPU_GROUP_PATH / 2 - 1, path);
    return file_has_word(dir, "cgroup.controllers", "cpu");
}

bool cpu_group_is_own(const char *name)
{
    struct hierarchy h;
    const char *last = find("", &h) ? strrchr(h.own, '/') : NULL;
    return last && strcmp(last + 1, name) == 0;
}

/* ---- entering ---- */

int cpu_group_enter(const struct cpu_group *g)
{
    return write(g->enter_fd, "0", 1) == 1 ? 0 : -errno;
}

/* Permission is not all it takes: a child tries. */
static bool can_enter(const struct cpu_group *g)
{
    int status = 1;
    pid_t child = fork();
    if (child == 0) {
        _exit(cpu_group_enter(g) != 0);
    }
    while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    return child > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* dir: where the processes go. */
static bool open_group(struct cpu_group *g, const char *dir)
{
    char procs[FILE_SIZE];
    snprintf(procs, sizeof(procs), "%s/cgroup.procs", dir);
    g->enter_fd = open(procs, O_WRONLY | O_CLOEXEC);
    return g->enter_fd >= 0 && can_enter(g);
}

/* ---- both versions ---- */

static bool make_dir(struct cpu_group *g, const char *parent, const char *name)
{
    int len = snprintf(g->path, sizeof(g->path), "%s/ring3.%s.%d", parent, name, (int)getpid());
    if (len >= (int)sizeof(g->path) - 16 || mkdir(g->path, 0755) != 0) {
        g->path[0] = '\0';
        return false;
    }
    return true;
}

void cpu_group_drop(struct cpu_group *g)
{
    if (g->enter_fd >= 0) {
        close(g->enter_fd);
        g->enter_fd = -1;
    }
    if (!g->path[0] || !vm_group_remove(g->path)) {
        return;
    }
    if (g->threaded) { /* the parent is as it was, unless others need it so: then this fails */
        *strrchr(g->path, '/') = '\0';
        (void)write_file(g->path, "cgroup.subtree_control", "-cpu");
    }
    *g = (struct cpu_group){.enter_fd = -1};
}

/* ---- version 2 ---- */

static bool set_v2(struct cpu_group *g, const struct want *w)
{
    char text[48];
    snprintf(text, sizeof(text), "%u", w->weight);
    bool done = write_file(g->path, "cpu.weight", text);
    snprintf(text, sizeof(text), "%u %u", w->cap * (CAP_PERIOD_US / 100), CAP_PERIOD_US);
    g->caps = done && w->cap && write_file(g->path, "cpu.max", text);
    return done;
}

/* All groups from the top (the first `top` bytes of the path) down to this one hand "cpu" out. */
static bool hand_out_along(const char *path, size_t top)
{
    char dir[CPU_GROUP_PATH];
    for (size_t end = top;; end++) {
        if (path[end] != '/' && path[end] != '\0') {
            continue;
        }
        snprintf(dir, sizeof(dir), "%.*s", (int)end, path);
        if (!file_has_word(dir, "cgroup.subtree_control", "cpu") &&
            !write_file(dir, "cgroup.subtree_control", "+cpu")) {
            return false;
        }
        if (!path[end]) {
            return true;
        }
    }
}

/* The machine's group hands "cpu" out, and so does what is above. Between the two somebody may have
 * taken it back above. */
static bool hand_out(const struct cpu_group *g, const char *parent, size_t top)
{
    for (unsigned i = 0; i < TRIES; i++) {
        if (!hand_out_along(parent, top)) {
            return false;
        }
        if (write_file(g->path, "cgroup.subtree_control", "+cpu")) {
            return true;
        }
    }
    return false;
}

static bool make_v2(struct cpu_group *g, const char *parent, size_t top, const char *name)
{
    char procs[FILE_SIZE], inner[FILE_SIZE];
    snprintf(procs, sizeof(procs), "%s/cgroup.procs", parent);
    if (access(procs, W_OK) != 0 || !make_dir(g, parent, name)) {
        return false;
    }
    snprintf(inner, sizeof(inner), "%s/" VM_GROUP_INNER, g->path);
    return (!g->threaded || write_file(g->path, "cgroup.type", "threaded")) &&
           hand_out(g, parent, top) && mkdir(inner, 0755) == 0 &&
           (!g->threaded || write_file(inner, "cgroup.type", "threaded"));
}

static bool try_v2_parent(struct cpu_group *g, const char *parent, size_t top, const struct want *w,
                          bool threaded)
{
    char inner[FILE_SIZE];
    g->threaded = threaded;
    if (make_v2(g, parent, top, w->name) && set_v2(g, w)) {
        snprintf(inner, sizeof(inner), "%s/" VM_GROUP_INNER, g->path);
        if (open_group(g, inner)) {
            return true;
        }
    }
    cpu_group_drop(g);
    return false;
}

/* Whether somebody wants what is in this group to have no more than something. systemd gives all
 * its groups a number of processes, which says nothing. */
static bool has_limits(const char *dir)
{
    static const struct {
        const char *file, *none;
    } limits[] = {{"memory.max", "max"},
                  {"memory.high", "max"},
                  {"cpu.max", "max"},
                  {"cpuset.cpus", ""},
                  {"io.max", ""}};
    for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
        char text[256];
        read_file(dir, limits[i].file, text, sizeof(text));
        text[strcspn(text, " \n")] = '\0';
        if (*text && strcmp(text, limits[i].none) != 0) {
            return true;
        }
    }
    return false;
}

static bool try_v2(struct cpu_group *g, const struct want *w)
{
    struct hierarchy h;
    char own[CPU_GROUP_PATH], parent[CPU_GROUP_PATH];
    if (!find("", &h) || !file_has_word(h.mount, "cgroup.controllers", "cpu")) {
        return false;
    }
    snprintf(own, sizeof(own), "%s%s", h.mount, h.own);
    memcpy(parent, own, sizeof(parent));
    size_t top = strlen(h.mount), end = strlen(own);
    while (end > top && !has_limits(parent)) {
        end = (size_t)(strrchr(parent, '/') - parent);
        parent[end] = '\0';
    }
    /* the highest, then one step down at a time */
    while (!try_v2_parent(g, parent, top, w, false)) {
        if (!own[end]) {
            return try_v2_parent(g, own, top, w, true);
        }
        end += 1 + strcspn(own + end + 1, "/");
        snprintf(parent, sizeof(parent), "%.*s", (int)end, own);
    }
    return true;
}

/* ---- version 1 ---- */

static bool set_v1(struct cpu_group *g, const struct want *w)
{
    char period[16], quota[16], shares[16];
    snprintf(shares, sizeof(shares), "%u", w->weight * 1024 / WEIGHT_DEFAULT);
    snprintf(period, sizeof(period), "%u", CAP_PERIOD_US);
    snprintf(quota, sizeof(quota), "%u", w->cap * (CAP_PERIOD_US / 100));
    bool done = write_file(g->path, "cpu.shares", shares);
    g->caps = done && w->cap && write_file(g->path, "cpu.cfs_period_us", period) &&
              write_file(g->path, "cpu.cfs_quota_us", quota);
    return done;
}

static bool try_v1(struct cpu_group *g, const struct want *w)
{
    struct hierarchy h;
    char parent[CPU_GROUP_PATH];
    if (!find("cpu", &h)) {
        return false;
    }
    for (unsigned own = 0; own < 2; own++) {
        snprintf(parent, sizeof(parent), "%s%s", h.mount, own ? h.own : "");
        if (make_dir(g, parent, w->name) && set_v1(g, w) && open_group(g, g->path)) {
            return true;
        }
        cpu_group_drop(g);
    }
    return false;
}

bool cpu_group_make(struct cpu_group *g, const char *name, unsigned weight, unsigned cap)
{
    const struct want want = {.name = name, .weight = weight, .cap = cap};
    *g = (struct cpu_group){.enter_fd = -1};
    return try_v2(g, &want) || try_v1(g, &want);
}
