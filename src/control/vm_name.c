/* Names of machines: which are allowed, and making them up. No state. */
#include "control/vm_dir.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

static const char *const adjectives[64] = {
    "agile",  "amber", "ample", "apt",    "bold",  "brave",  "brief", "bright", "brisk", "calm",
    "candid", "chief", "civil", "clean",  "clear", "clever", "cool",  "crisp",  "deft",  "eager",
    "early",  "even",  "exact", "fair",   "fast",  "fine",   "firm",  "fleet",  "fond",  "frank",
    "free",   "fresh", "full",  "gentle", "glad",  "good",   "grand", "great",  "happy", "hardy",
    "keen",   "kind",  "light", "lively", "loyal", "lucid",  "mild",  "neat",   "noble", "plain",
    "prime",  "proud", "quick", "quiet",  "rapid", "ready",  "sharp", "smart",  "solid", "sound",
    "steady", "sunny", "warm",  "wise",
};

static const char *const nouns[64] = {
    "acorn",   "anchor", "apple",   "arrow",  "badger", "beacon",  "birch",  "bridge",
    "brook",   "canyon", "cedar",   "cliff",  "clover", "comet",   "coral",  "crane",
    "delta",   "dune",   "eagle",   "ember",  "falcon", "fern",    "finch",  "fjord",
    "forest",  "fox",    "garden",  "glade",  "harbor", "hazel",   "heron",  "hill",
    "island",  "jasper", "kestrel", "lagoon", "lake",   "lantern", "larch",  "lynx",
    "maple",   "marten", "meadow",  "mesa",   "moon",   "oak",     "orchid", "otter",
    "pebble",  "pine",   "planet",  "quartz", "raven",  "reef",    "river",  "robin",
    "sparrow", "spruce", "stone",   "swift",  "tulip",  "valley",  "willow", "wren",
};

bool vm_name_valid(const char *name)
{
    size_t len = strlen(name);
    if (len == 0 || len > VM_NAME_MAX || !isalnum((unsigned char)name[0])) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)name[i];
        if (c >= 0x80 || (!isalnum(c) && c != '_' && c != '.' && c != '-')) {
            return false;
        }
    }
    return true;
}

void vm_name_make(char name[VM_NAME_MAX + 1], uint32_t random)
{
    const char *adjective = adjectives[random & 63], *noun = nouns[random >> 6 & 63];
    unsigned number = random >> 12;
    if (number) {
        snprintf(name, VM_NAME_MAX + 1, "%s-%s-%u", adjective, noun, number);
    } else {
        snprintf(name, VM_NAME_MAX + 1, "%s-%s", adjective, noun);
    }
}
