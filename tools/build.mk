# How the program is compiled: which folder gets which rules.
#
# core      freestanding C that never touches a vector register: it runs while the guest's are live
# loader    freestanding C, runs once before the guest
# hosted    ordinary Linux C: the process around the machine

SRC_CORE := $(sort $(foreach d,base x86 vcpu mmu irq bt engine vm dev dev/acpi dev/pci dev/virtio,\
    $(wildcard src/$(d)/*.c src/$(d)/*.S)))
SRC_HOSTED := $(sort src/boot/decompress.c src/boot/bzimage.c src/engine/kvm.c \
    $(wildcard src/host/linux/*.c src/host/linux/*.S src/block/*.c src/net/*.c src/share/*.c src/control/*.c \
    src/cli/*.c))
SRC_HOSTED := $(filter $(SRC_HOSTED),$(wildcard src/*/*.c src/*/*/*.c src/*/*/*.S))
SRC_CORE := $(filter-out $(SRC_HOSTED),$(SRC_CORE))
SRC_LOADER := $(filter-out $(SRC_HOSTED),$(sort $(wildcard src/boot/*.c)))

WARN := -Wall -Wextra -Wshadow -Wmissing-prototypes -Wstrict-prototypes -Wcast-qual -Wvla \
    -Wpointer-arith -Werror
# Quiet where there is no compiler yet: tools/setup may be about to install it.
CC_INCLUDE = $(shell $(CC) -print-file-name=include 2>/dev/null)
CFLAGS_ALL = -std=gnu11 $(OPT) $(WARN) -Isrc -fno-pie -fno-strict-aliasing -MMD -MP $(CFLAGS)
CFLAGS_FREE = -ffreestanding -nostdinc -isystem $(CC_INCLUDE)
CFLAGS_CORE = $(CFLAGS_FREE) -mgeneral-regs-only -fno-stack-protector -fcf-protection=none \
    -fno-asynchronous-unwind-tables
CFLAGS_HOSTED = -D_GNU_SOURCE -mfsgsbase -DRING3_VERSION='"$(VERSION)"'
# The image stays at its default place, 0x400000: code caches and vCPU state are reached by 32-bit
# absolute addresses (DESIGN §4.1).
# heap_floor.S says why the page at its address.
LDFLAGS_HEAP = -Wl,-z,noexecstack -Wl,--section-start=.heap_floor=0x7fff0000
LDFLAGS_RING3 = -static -no-pie $(LDFLAGS_HEAP)
LIBS_RING3 = -llz4 -llzma -lseccomp -lzstd -lz -ljson-c

# One short line a step; V=1 shows the commands.
Q := $(if $(V),,@)
say = $(if $(V),@:,@printf '  %-5s %s\n' $(1) $(2))

obj = $(patsubst src/%,$(OUT)/obj/%.o,$(basename $(1)))
OBJ_CORE := $(call obj,$(SRC_CORE))
OBJ_LOADER := $(call obj,$(SRC_LOADER))
OBJ_HOSTED := $(call obj,$(SRC_HOSTED))
OBJ_ALL := $(OBJ_CORE) $(OBJ_LOADER) $(OBJ_HOSTED)

$(OBJ_CORE): CFLAGS_KIND = $(CFLAGS_CORE)
$(OBJ_LOADER): CFLAGS_KIND = $(CFLAGS_FREE)
$(OBJ_HOSTED): CFLAGS_KIND = $(CFLAGS_HOSTED)

# A change of compiler or flags rebuilds everything.
FLAGS_NOW := $(CC) $(OPT) $(CFLAGS) $(CFLAGS_CORE) $(VERSION)
$(OUT)/obj/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(subst ','\'',$(FLAGS_NOW))' | cmp -s - $@ || echo '$(subst ','\'',$(FLAGS_NOW))' > $@

$(OUT)/obj/%.o: src/%.c $(OUT)/obj/flags
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(CFLAGS_ALL) $(CFLAGS_KIND) -c -o $@ $<

$(OUT)/obj/%.o: src/%.S $(OUT)/obj/flags
	@mkdir -p $(@D)
	$(call say,AS,$<)
	$(Q)$(CC) $(CFLAGS_ALL) -c -o $@ $<

$(OUT)/ring3: $(OBJ_ALL)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS_RING3) -o $@ $^ $(LIBS_RING3)

# The helper for network disks: a program of its own, with shared libraries (libnbd's TLS library has no static
# form in Debian). src/block/nbd_proto.h says what it is for.
CFLAGS_HELPER = -std=gnu11 $(OPT) $(WARN) -Isrc -D_GNU_SOURCE -fPIE -fstack-protector-strong -MMD -MP
$(OUT)/ring3-nbd: $(wildcard src/nbd-helper/*.c) $(OUT)/obj/flags
	$(call say,LD,$@)
	$(Q)$(CC) $(CFLAGS_HELPER) -MF $(OUT)/obj/ring3-nbd.d -pie -Wl,-z,relro,-z,now -o $@ \
	    $(filter %.c,$^) -lnbd -lseccomp
-include $(OUT)/obj/ring3-nbd.d

ring3: $(OUT)/ring3 $(OUT)/ring3-nbd

-include $(OBJ_ALL:.o=.d)

FORCE:
.PHONY: ring3 FORCE
