/* mkcpio OUTPUT < LIST: make an initramfs from a list, without being root and the same every time.
 *
 * One entry a line, in the order given:
 *   dir PATH MODE
 *   file PATH MODE SOURCE
 *   link PATH TARGET
 *   char PATH MODE MAJOR MINOR
 *
 * Words are separated by blanks; MODE is octal; PATH has no leading slash.
 */
#include "host/linux/cpio.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static bool add_file(struct cpio *c, const char *path, unsigned mode, const char *source)
{
    FILE *f = fopen(source, "rb");
    struct stat st;
    if (!f || fstat(fileno(f), &st) != 0) {
        perror(source);
        return false;
    }
    size_t len = (size_t)st.st_size;
    char *data = malloc(len + 1);
    bool ok = data && fread(data, 1, len, f) == len;
    if (ok) {
        cpio_add(c, path, S_IFREG | mode, 0, 0, data, len);
    } else {
        fprintf(stderr, "mkcpio: cannot read %s\n", source);
    }
    free(data);
    fclose(f);
    return ok;
}

static bool add_line(struct cpio *c, char *line)
{
    char kind[8], path[256], a[256], b[16], d[16];
    int n = sscanf(line, "%7s %255s %255s %15s %15s", kind, path, a, b, d);
    if (n == 3 && strcmp(kind, "dir") == 0) {
        cpio_add(c, path, S_IFDIR | (unsigned)strtoul(a, NULL, 8), 0, 0, NULL, 0);
    } else if (n == 3 && strcmp(kind, "link") == 0) {
        cpio_add(c, path, S_IFLNK | 0777, 0, 0, a, strlen(a));
    } else if (n == 5 && strcmp(kind, "char") == 0) {
        cpio_add(c, path, S_IFCHR | (unsigned)strtoul(a, NULL, 8), (unsigned)atoi(b),
                 (unsigned)atoi(d), NULL, 0);
    } else if (n >= 4 && strcmp(kind, "file") == 0) {
        char source[1024];
        n = sscanf(line, "%*s %*s %*s %1023s", source);
        return n == 1 && add_file(c, path, (unsigned)strtoul(a, NULL, 8), source);
    } else {
        fprintf(stderr, "mkcpio: cannot make sense of: %s", line);
        return false;
    }
    return true;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: mkcpio OUTPUT < LIST\n");
        return 2;
    }
    struct cpio c = {0};
    char line[2048];
    while (fgets(line, sizeof(line), stdin)) {
        if (line[0] != '\n' && line[0] != '#' && !add_line(&c, line)) {
            return 1;
        }
    }
    FILE *out = cpio_finish(&c) == 0 ? fopen(argv[1], "wb") : NULL;
    if (!out || fwrite(c.bytes, 1, c.len, out) != c.len || fclose(out) != 0) {
        fprintf(stderr, "mkcpio: cannot write %s\n", argv[1]);
        return 1;
    }
    cpio_fini(&c);
    return 0;
}
