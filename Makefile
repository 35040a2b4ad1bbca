# ring3: build, run, test, measure, install.  `make help` lists the targets.
#
# Everything made goes under build/ (B=DIR for another place); `make run`, `make test` and `make bench`
# fetch what they need by themselves (tools/setup), plain `make` never touches the network.

PREFIX ?= /usr/local
DESTDIR ?=
B ?= build
CC = gcc
VERSION := 0.1.0

# make debug (VARIANT=debug) builds the checking variant: it re-derives guest state for each new block.
VARIANT ?= release
ifeq ($(VARIANT),debug)
OUT := $(B)/debug
OPT := -O1 -g -DRING3_DEBUG
else
OUT := $(B)
OPT := -O2 -g
endif

all: ring3 guest-if-there

include tools/build.mk
include tools/guest.mk
include tools/test.mk
include tools/check.mk

help:
	@echo 'make                 build $(B)/ring3'
	@echo 'make run             set up what is missing, then a shell in the default guest (ARGS=...)'
	@echo 'make test            set up what is missing, then every test (ONLY=tests/cli for some)'
	@echo 'make bench           set up what is missing, then measure beside QEMU TCG and native'
	@echo 'make install         to PREFIX=$(PREFIX) (DESTDIR=...): program, man page, default guest'
	@echo 'make uninstall       remove what install put there'
	@echo 'make debug           build $(B)/debug/ring3, which checks itself'
	@echo 'make check           check-headers and check-layers'
	@echo 'make lint            clang build of everything, and clang-tidy'
	@echo 'make fuzz            the fuzzers, FUZZ_SECONDS=60 each'
	@echo 'make clean           remove $(B), but keep downloaded packages; distclean removes all'

# Set-up must be over before anything is compiled, also under -j: hence the second make.
run:
	tools/setup run
	$(MAKE) ring3 guest
	$(OUT)/ring3 run $(ARGS)

bench:
	tools/setup bench
	$(MAKE) ring3 guest bench-guest
	bench/run $(B) $(ARGS)

debug:
	$(MAKE) VARIANT=debug ring3

install: ring3 guest
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/ring3 $(DESTDIR)$(PREFIX)/libexec/ring3 \
	    $(DESTDIR)$(PREFIX)/share/man/man1 $(DESTDIR)$(PREFIX)/share/bash-completion/completions
	install -m 755 $(OUT)/ring3 $(DESTDIR)$(PREFIX)/bin/ring3
	install -m 755 $(OUT)/ring3-nbd $(DESTDIR)$(PREFIX)/libexec/ring3/ring3-nbd
	install -m 644 $(B)/kernel/vmlinuz $(DESTDIR)$(PREFIX)/share/ring3/vmlinuz
	install -m 644 $(B)/default-guest.cpio $(DESTDIR)$(PREFIX)/share/ring3/default-guest.cpio
	install -m 644 man/ring3.1 man/ring3-image.1 $(DESTDIR)$(PREFIX)/share/man/man1
	install -m 644 tools/completion/ring3.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/ring3

uninstall:
	rm -f $(DESTDIR)$(PREFIX)/bin/ring3 $(DESTDIR)$(PREFIX)/libexec/ring3/ring3-nbd
	rm -f $(DESTDIR)$(PREFIX)/share/man/man1/ring3.1 $(DESTDIR)$(PREFIX)/share/man/man1/ring3-image.1
	rm -f $(DESTDIR)$(PREFIX)/share/bash-completion/completions/ring3
	rm -f $(DESTDIR)$(PREFIX)/share/ring3/vmlinuz
	rm -f $(DESTDIR)$(PREFIX)/share/ring3/default-guest.cpio
	-rmdir $(DESTDIR)$(PREFIX)/share/ring3 $(DESTDIR)$(PREFIX)/libexec/ring3

clean:
	find $(B) -mindepth 1 -maxdepth 1 ! -name packages -exec rm -rf {} + 2>/dev/null || true

distclean:
	rm -rf $(B)

.PHONY: all help run test bench debug install uninstall clean distclean
