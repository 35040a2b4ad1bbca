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

.PHONY: check check-headers check-layers lint
