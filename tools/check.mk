# Checks of the source itself.

HEADERS := $(sort $(shell find src -name '*.h'))

check: check-headers check-layers

# Each header compiles alone, as the kind of code that its folder holds.
check-headers:
	@tools/check-headers $(CC) '$(CFLAGS_FREE)' $(HEADERS)

check-layers: $(OBJ_CORE) $(OBJ_LOADER)
	@tools/check-layers $(OBJ_CORE) $(OBJ_LOADER)

# clang sees other things than gcc; clang-tidy reads the sources of the program.
lint:
	tools/setup lint
	@tools/lint $(SRC_CORE) -- $(SRC_LOADER) -- $(SRC_HOSTED) $(wildcard src/nbd-helper/*.c) -- \
	    $(sort $(wildcard tests/unit/*.c tests/host/*.c tests/insn/*.c tests/fuzz/*.c tests/tools/*.c))

# Each fuzzer for FUZZ_SECONDS with the sanitizers. A crash leaves its input in build/fuzz.
FUZZ_SECONDS ?= 60
FUZZERS := $(patsubst tests/fuzz/%.c,$(B)/fuzz/%,$(sort $(wildcard tests/fuzz/fuzz_*.c)))
CFLAGS_FUZZ = -std=gnu11 -O1 -g $(WARN) -Isrc -Itests -D_GNU_SOURCE -fno-pie -no-pie \
    -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all
# What is compiled anew with the sanitizers; the rest comes out of unit.a.
FUZZ_SRC = src/base/*.c src/boot/*.c src/x86/*.c
$(B)/fuzz/fuzz_virtq $(B)/fuzz/fuzz_devices: FUZZ_SRC = src/base/*.c src/vm/bus.c src/dev/pci/*.c src/dev/virtio/*.c
$(B)/fuzz/fuzz_net: FUZZ_SRC = src/base/*.c src/dev/virtio/device.c src/dev/virtio/virtq.c src/dev/virtio/net.c \
    src/net/parse.c src/net/mac.c src/net/echo.c src/net/offload.c src/net/mac_table.c src/net/switch.c src/net/window.c src/net/passt.c
$(B)/fuzz/fuzz_qcow2: FUZZ_SRC = src/base/*.c src/block/*.c
$(FUZZERS): $(B)/fuzz/%: tests/fuzz/%.c $(wildcard tests/fuzz/*.h src/block/*.[ch] src/base/*.c src/boot/*.c src/x86/*.c src/dev/*/*.[ch]) $(T)/unit.a
	@mkdir -p $(@D)
	$(call say,FUZZ,$@)
	$(Q)clang $(CFLAGS_FUZZ) -o $@ $< tests/unit/fake_host.c $(wildcard $(FUZZ_SRC)) $(T)/unit.a $(LIBS_RING3)
fuzzers: $(FUZZERS)
fuzz:
	tools/setup fuzz
	$(MAKE) fuzzers
	$(foreach f,$(FUZZERS),$f -max_total_time=$(FUZZ_SECONDS) -max_len=65536 -print_final_stats=1 -verbosity=0 \
	    -artifact_prefix=$(B)/fuzz/ &&) true

.PHONY: check fuzz fuzzers check-headers check-layers lint
