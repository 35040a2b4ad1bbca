# Checks of the source itself.

HEADERS := $(sort $(shell find src -name '*.h'))

check: check-headers check-layers

# Each header compiles alone, as the kind of code that its folder holds.
check-headers:
	@tools/check-headers $(CC) '$(CFLAGS_FREE)' $(HEADERS)

check-layers: $(OBJ_CORE) $(OBJ_LOADER)
	@tools/check-layers $(OBJ_CORE) $(OBJ_LOADER)

# clang sees other things than gcc; clang-tidy where it is installed.
lint:
	@tools/lint $(SRC_CORE) -- $(SRC_LOADER) -- $(SRC_HOSTED)

# Each fuzzer for FUZZ_SECONDS with the sanitizers; needs clang. A crash leaves its input in build/fuzz.
FUZZ_SECONDS ?= 60
FUZZERS := $(patsubst tests/fuzz/%.c,$(B)/fuzz/%,$(sort $(wildcard tests/fuzz/fuzz_*.c)))
$(FUZZERS): $(B)/fuzz/%: tests/fuzz/%.c $(wildcard src/base/*.c src/boot/*.c src/x86/*.c) $(T)/unit.a
	@mkdir -p $(@D)
	$(call say,FUZZ,$@)
	$(Q)clang -std=gnu11 -O1 -g $(WARN) -Isrc -Itests -D_GNU_SOURCE -fsanitize=fuzzer,address,undefined -fno-pie -no-pie \
	    -o $@ $< tests/unit/fake_host.c src/base/*.c src/boot/*.c src/x86/*.c \
	    $(T)/unit.a $(LIBS_RING3)
fuzz: $(FUZZERS)
	$(foreach f,$^,$f -max_total_time=$(FUZZ_SECONDS) -max_len=65536 -artifact_prefix=$(B)/fuzz/ &&) true

.PHONY: check fuzz check-headers check-layers lint
