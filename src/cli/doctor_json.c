/* The report of `ring3 doctor --format json`: one object with "instructions", "summary", "host",
 * "engines", "auto". Fields are only ever added, never renamed.
 */
#include "cli/doctor.h"

/* s as a JSON string. Bytes of UTF-8 go through as they are. */
static void put_string(FILE *f, const char *s)
{
    fputc('"', f);
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;

        if (c == '"' || c == '\\')
            fprintf(f, "\\%c", c);
        else if (c < 0x20 || c == 0x7f)
            fprintf(f, "\\u%04x", c);
        else
            fputc(c, f);
    }
    fputc('"', f);
}

/* ,"key":"s" */
static void put_member(FILE *f, const char *key, const char *s)
{
    fprintf(f, ", \"%s\": ", key);
    put_string(f, s);
}

static void put_probe(FILE *f, const struct probe *in, const struct probe_result *r)
{
    char text[96];

    fputs("    {\"name\": ", f);
    put_string(f, in->name);
    fprintf(f, ", \"sensitive\": %s", in->sense == SENSE_NONE ? "false" : "true");
    put_member(f, "result", probe_outcome_name(r->outcome));
    probe_describe(r, text, sizeof(text));
    put_member(f, "text", text);
    if (r->signo)
        fprintf(f, ", \"signal\": %d", r->signo);
    if (r->outcome == PROBE_TRAPS || r->outcome == PROBE_ABSENT)
        fprintf(f, ", \"vector\": %u, \"error\": %llu", r->vector, (unsigned long long)r->error);
    else if (!r->signo && r->outcome != PROBE_UNTRIED)
        fprintf(f, ", \"ns\": %llu", (unsigned long long)r->ns);
    probe_value(in, r, text, sizeof(text));
    if (text[0])
        put_member(f, "value", text);
    put_member(f, "ring3", in->ring3);
    fputc('}', f);
}

static void put_engine(FILE *f, const struct engine_report *e)
{
    static const char *const machines[] = {
        [MACHINE_UNTRIED] = "untried",
        [MACHINE_RAN] = "ran",
        [MACHINE_FAILED] = "failed",
    };

    fputs("    {\"name\": ", f);
    put_string(f, e->name);
    fprintf(f, ", \"usable\": %s", e->usable ? "true" : "false");
    put_member(f, "why", e->why);
    if (e->remedy[0])
        put_member(f, "remedy", e->remedy);
    put_member(f, "machine", machines[e->machine]);
    if (e->machine != MACHINE_UNTRIED)
        fprintf(f, ", \"machine_ms\": %u", e->machine_ms);
    if (e->untried[0])
        put_member(f, "machine_untried", e->untried);
    fputc('}', f);
}

void doctor_print_json(const struct doctor_report *r, FILE *f)
{
    struct probe_summary s = doctor_summary(r);

    fputs("{\n  \"instructions\": [\n", f);
    for (size_t i = 0; i < r->probe_count; i++) {
        put_probe(f, &r->probes[i], &r->results[i]);
        fputs(i + 1 < r->probe_count ? ",\n" : "\n", f);
    }
    fprintf(f,
            "  ],\n  \"summary\": {\"measured\": %zu, \"absent\": %zu, \"sensitive\": %zu, "
            "\"trap\": %zu, "
            "\"kernel_answers\": %zu, \"do_not_trap\": %zu, \"trap_and_emulate_suffices\": %s},\n",
            s.measured, s.absent, s.sensitive, s.trap, s.emulated, s.silent,
            s.trap == s.sensitive ? "true" : "false");
    fputs("  \"host\": [\n", f);
    for (size_t i = 0; i < r->check_count; i++) {
        const struct check *c = &r->checks[i];

        fputs("    {\"name\": ", f);
        put_string(f, c->id);
        put_member(f, "status", check_status_name(c->status));
        put_member(f, "value", c->value);
        if (c->remedy[0])
            put_member(f, "remedy", c->remedy);
        fputs(i + 1 < r->check_count ? "},\n" : "}\n", f);
    }
    fputs("  ],\n  \"engines\": [\n", f);
    for (size_t i = 0; i < r->engine_count; i++) {
        put_engine(f, &r->engines[i]);
        fputs(i + 1 < r->engine_count ? ",\n" : "\n", f);
    }
    fputs("  ],\n  \"auto\": {\"engine\": ", f);
    if (r->chosen >= 0)
        put_string(f, r->engines[r->chosen].name);
    else
        fputs("null", f);
    put_member(f, "why", r->chosen_why);
    fputs("}\n}\n", f);
}
