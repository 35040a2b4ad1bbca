# Tests: what is built for them. tests/run runs them and counts.
#
#   tests/unit/test_*.c   cmocka, one program each, with the core and fakes of the host (the other .c files there)
#   tests/host/test_*.c, tests/insn/test_*.c
#                         one program each, with everything but the command line
#   tests/guest/*.[cS]    flat guests, each with tests/guest/lib; ring3 runs them, exit status 0 passes
#   tests/boot/*.sh, tests/cli/*.sh    scripts; $RING3 is the program, $BUILD the build folder

T := $(OUT)/tests
TEST_UNIT := $(patsubst tests/%.c,$(T)/%,$(sort $(wildcard tests/unit/test_*.c)))
TEST_HOST := $(patsubst tests/%.c,$(T)/%,$(sort $(wildcard tests/host/test_*.c tests/insn/test_*.c)))
TEST_GUEST := $(patsubst tests/%,$(T)/%.elf,$(basename $(sort $(wildcard tests/guest/*.c tests/guest/*.S))))
TEST_TOOLS := $(patsubst tests/%.c,$(T)/%,$(sort $(wildcard tests/tools/*.c)))

# Of the hosted parts, those that unit tests can use with a fake host beneath them.
UNIT_HOSTED := $(filter $(call obj,src/boot/decompress.c src/boot/bzimage.c src/host/linux/cpio.c \
    src/host/linux/terminal.c src/host/linux/console.c src/cli/suggest.c src/cli/run_options.c src/cli/run_devices.c $(wildcard src/control/*.c) \
    src/host/linux/cpu_cap.c src/host/linux/runtime_dir.c src/host/linux/spawn.c \
    src/share/parse.c $(wildcard src/block/*.c src/net/*.c)),$(OBJ_HOSTED))
HEAP_FLOOR := $(OUT)/obj/host/linux/heap_floor.o
HELPERS = $(patsubst tests/%.c,$(T)/obj/%.o,$(filter-out tests/$(1)/test_%,$(wildcard tests/$(1)/*.c)))

$(T)/unit.a: $(OBJ_CORE) $(OBJ_LOADER) $(UNIT_HOSTED)
$(T)/all.a: $(filter-out $(OUT)/obj/cli/main.o,$(OBJ_ALL))
$(T)/%.a:
	@mkdir -p $(@D)
	$(call say,AR,$@)
	$(Q)rm -f $@ && ar rcs $@ $^

CFLAGS_TEST = -std=gnu11 $(OPT) $(WARN) -Isrc -Itests -fno-pie -D_GNU_SOURCE -MMD -MP
LIBS_TEST = -Wl,--as-needed -lcmocka -lZydis $(LIBS_RING3)

$(T)/obj/%.o: tests/%.c $(OUT)/obj/flags
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(CFLAGS_TEST) -c -o $@ $<
.PRECIOUS: $(T)/obj/%.o

$(TEST_UNIT): $(T)/unit/%: $(T)/obj/unit/%.o $(call HELPERS,unit) $(T)/unit.a
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) -no-pie -o $@ $^ $(LIBS_TEST)
$(filter $(T)/host/%,$(TEST_HOST)): $(T)/host/%: $(T)/obj/host/%.o $(call HELPERS,host) $(HEAP_FLOOR) $(T)/all.a
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) -no-pie $(LDFLAGS_HEAP) -o $@ $^ $(LIBS_TEST)
# Static like ring3 itself: the engine's process has no room for shared libraries, the guest is where they would be.
$(filter $(T)/insn/%,$(TEST_HOST)): $(T)/insn/%: $(T)/obj/insn/%.o $(call HELPERS,insn) $(HEAP_FLOOR) $(T)/all.a
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS_RING3) -o $@ $^ $(LIBS_RING3)
$(TEST_TOOLS): $(T)/tools/%: tests/tools/%.c
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(CFLAGS_TEST) -no-pie -o $@ $<

GUEST_LIB := $(wildcard tests/guest/lib/*.c tests/guest/lib/*.S)
CFLAGS_GUEST = -std=gnu11 -O1 -g -mcmodel=kernel $(WARN) -Isrc -Itests/guest -ffreestanding -fno-pie -mno-red-zone \
    -mgeneral-regs-only -fno-stack-protector -fcf-protection=none -fno-asynchronous-unwind-tables
$(T)/guest/%.elf: tests/guest/%.* $(GUEST_LIB) tests/guest/guest.ld $(wildcard tests/guest/*.h tests/guest/lib/*.h)
	@mkdir -p $(@D)
	$(call say,GUEST,$@)
	$(Q)$(CC) $(CFLAGS_GUEST) -nostdlib -static -no-pie -Wl,--build-id=none,-z,noexecstack \
	    -T tests/guest/guest.ld -o $@ $(filter tests/guest/$*.%,$^) $(GUEST_LIB)

# NAME_low.c includes NAME.c.
$(filter %_low.elf,$(TEST_GUEST)): $(T)/guest/%_low.elf: tests/guest/%.c

tests: $(TEST_UNIT) $(TEST_HOST) $(TEST_GUEST) $(TEST_TOOLS)

# ONLY=WORD... runs the tests whose name has one of the words in it.
test:
	tools/setup test
	$(MAKE) ring3 guest guest-generic
	@# A test that cannot be built fails, and the others run.
	@$(MAKE) -k tests; built=$$?; tests/run $(OUT) $(ONLY) && exit $$built

-include $(wildcard $(T)/obj/*/*.d)
.PHONY: tests test
