# The default guest: Debian's cloud kernel from its package, and an initramfs of our init and busybox.
#
# tools/guest-packages downloads and unpacks (nothing is installed); what it got stays in
# build/packages and is asked for again only when that folder is gone.

GUEST_INIT := $(B)/guests/default/init
MKCPIO := $(B)/tools/mkcpio
CFLAGS_TOOL = -std=gnu11 -O2 -g $(WARN) -Isrc -D_GNU_SOURCE -MMD -MP

guest: $(B)/kernel/vmlinuz $(B)/default-guest.cpio

$(B)/kernel/vmlinuz:
	$(Q)tools/guest-packages kernel $(B)

# Its modules for virtual devices: a list for mkcpio.
$(B)/kernel/modules: $(B)/kernel/vmlinuz tools/guest-packages
	$(Q)tools/guest-packages modules $(B)

# The other kernel that tests boot and read.
$(B)/kernel/vmlinuz-generic:
	$(Q)tools/guest-packages kernel-generic $(B)
guest-generic: $(B)/kernel/vmlinuz-generic

$(B)/packages/busybox:
	$(Q)tools/guest-packages busybox $(B)

$(GUEST_INIT): $(wildcard guests/default/*.c guests/default/*.h) src/host/linux/channel.h
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) -std=gnu11 -Os $(WARN) -Isrc -D_GNU_SOURCE -static -s -o $@ $(filter %.c,$^)

$(MKCPIO): tools/mkcpio.c src/host/linux/cpio.c src/host/linux/cpio.h
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(CFLAGS_TOOL) -o $@ tools/mkcpio.c src/host/linux/cpio.c

$(B)/default-guest.cpio: $(GUEST_INIT) $(MKCPIO) $(B)/packages/busybox $(B)/kernel/modules \
    guests/default/build $(wildcard guests/default/etc/* guests/default/etc/*/*)
	$(call say,CPIO,$@)
	$(Q)guests/default/build $(MKCPIO) $(GUEST_INIT) $(B)/packages/busybox $(B)/kernel/modules $@

# Plain `make` makes the guest too when its packages have been fetched before, else leaves that to `make run`.
ifneq ($(and $(wildcard $(B)/packages/busybox),$(wildcard $(B)/packages/linux-image-*.deb)),)
guest-if-there: guest
else
guest-if-there: $(GUEST_INIT)
endif

BENCH_GUEST := $(B)/bench/bench
$(BENCH_GUEST): $(wildcard bench/guest/*.c)
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) -std=gnu11 -O2 $(WARN) -D_GNU_SOURCE -static -o $@ $(filter %.c,$^)
$(B)/bench/initramfs.cpio: $(BENCH_GUEST) $(MKCPIO) $(B)/packages/busybox bench/guest/build
	$(call say,CPIO,$@)
	$(Q)bench/guest/build $(MKCPIO) $(BENCH_GUEST) $(B)/packages/busybox $@
$(B)/bench/watch: bench/host/watch.c
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) -std=gnu11 -O2 $(WARN) -D_GNU_SOURCE -o $@ $<
bench-guest: $(B)/bench/initramfs.cpio $(B)/bench/watch

-include $(MKCPIO).d
.PHONY: guest guest-generic guest-if-there bench-guest
