# Larder's house: how it is built, tried, looked over and installed. `make` alone prints the targets.
#
# Every variant (a sanitizer, coverage, a seeded bug, a left-out part) has a build folder of its own, so that
# changing a variable never mixes objects. A change of compiler or flags rebuilds (see $(OUT)/flags).

.DEFAULT_GOAL := help
.SUFFIXES:
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

VERSION := 0.1.0
SOMAJOR := 0
PREFIX  ?= /usr/local
DESTDIR ?=

# ---- variables of the command line -------------------------------------------------------------------------
SAN         ?=
COVERAGE    ?=
BUG         ?=
WITH_SQLITE ?= 1
WITH_ZSTD   ?= 1
WITH_JSON   ?= 1
WITH_REDIS  ?= 1
WERROR      ?=
LOOSE       ?=
V           ?=
ifeq ($(origin CC),default)
CC := gcc
endif
Q := $(if $(V),,@)
say = $(if $(V),,@echo '  $(1)  $(2)';)

comma := ,
empty :=
space := $(empty) $(empty)
WITHOUT := $(if $(filter 0,$(WITH_SQLITE)),sqlite) $(if $(filter 0,$(WITH_ZSTD)),zstd) $(if $(filter 0,$(WITH_JSON)),json) $(if $(filter 0,$(WITH_REDIS)),redis)
VARIANT := $(strip $(subst $(comma),$(space),$(SAN)) $(if $(COVERAGE),coverage) $(if $(BUG),bug-$(BUG)) $(addprefix no-,$(WITHOUT)))
OUT     := build$(if $(VARIANT),/$(subst $(space),-,$(VARIANT)))

# ---- sources: what is there is built; a part switched off is a file left out --------------------------------
# and its stand-in, no_*.c, says so to who asks for it.
DROPPED  := $(if $(filter 0,$(WITH_SQLITE)),core/source/sqlite%.c lua/bind/sqlite%.c,core/source/no_sqlite.c lua/bind/no_sqlite.c) \
            $(if $(filter 0,$(WITH_ZSTD)),core/record/codec_zstd.c,core/record/no_zstd.c) \
            $(if $(filter 0,$(WITH_JSON)),core/record/codec_json.c,core/record/no_json.c) \
            $(if $(filter 0,$(WITH_REDIS)),core/wire/reply.c,core/wire/no_redis.c)
CORE_C   := $(filter-out $(DROPPED),$(sort $(wildcard core/*.c core/*/*.c)))
BIND_C   := $(filter-out $(DROPPED),$(sort $(wildcard lua/bind/*.c)))
ALL_SPEC_C := $(sort $(wildcard spec/core/*_spec.c))
NO_REDIS_SPECS := $(if $(filter 0,$(WITH_REDIS)),$(addprefix spec/core/,wire_reply% wire_link% wire_memory% l2_%))
SPEC_C   := $(filter-out $(foreach w,$(WITHOUT),spec/core/$(w)%) $(NO_REDIS_SPECS),$(ALL_SPEC_C))
HELP_C   := $(filter-out $(ALL_SPEC_C),$(sort $(wildcard spec/core/*.c)))
BENCH_C  := $(sort $(wildcard spec/bench/*.c))
LUA_SRC  := $(sort $(wildcard lua/larder/*.lua lua/larder/*/*.lua))

SCRIPTS  := $(filter-out %/head.lua %/cell.lua,$(sort $(wildcard core/l2/redis/*.lua)))
SCRIPT_L := $(SCRIPTS:core/l2/redis/%=$(OUT)/gen/redis/%)
CORE_O   := $(CORE_C:%.c=$(OUT)/obj/%.o) $(OUT)/obj/gen/l2_scripts.o
BIND54_O := $(BIND_C:%.c=$(OUT)/obj/lua5.4/%.o)
BINDJT_O := $(BIND_C:%.c=$(OUT)/obj/luajit/%.o)
HELP_O   := $(HELP_C:%.c=$(OUT)/obj/%.o)
SPECS    := $(SPEC_C:spec/core/%.c=$(OUT)/spec/%)
BENCHES  := $(BENCH_C:spec/bench/%.c=$(OUT)/bench/%)
MOD54    := $(OUT)/lua5.4/larder/core.so
MODJT    := $(OUT)/luajit/larder/core.so
LIB_A    := $(OUT)/liblarder.a
LIB_SO   := $(OUT)/liblarder.so.$(VERSION)

# ---- flags -------------------------------------------------------------------------------------------------
# Looked up only when something is compiled: `make` and `make env` must work on a machine without pkg-config.
PKGS      = msgpack libxxhash $(if $(filter-out 0,$(WITH_SQLITE)),sqlite3) $(if $(filter-out 0,$(WITH_ZSTD)),libzstd) $(if $(filter-out 0,$(WITH_JSON)),jansson) \
            $(if $(filter-out 0,$(WITH_REDIS)),hiredis)
once      = $(eval $(1) := $(2))$($(1))
PKG_CFLAGS = $(call once,PKG_CFLAGS,$(shell pkg-config --cflags $(PKGS)))
PKG_LIBS   = $(call once,PKG_LIBS,$(shell pkg-config --libs $(PKGS)))
LUA54_CFLAGS  = $(call once,LUA54_CFLAGS,$(if $(LUA_INCDIR),-I$(LUA_INCDIR),$(shell pkg-config --cflags lua5.4)))
LUAJIT_CFLAGS = $(call once,LUAJIT_CFLAGS,$(shell pkg-config --cflags luajit))

WARN    := -Wall -Wextra $(if $(WERROR),-Werror)
OPT     := $(if $(SAN),-O1 -fno-omit-frame-pointer,$(if $(COVERAGE),-O0,-O2))
SANFLAG := $(if $(SAN),-fsanitize=$(SAN) $(if $(findstring undefined,$(SAN)),-fno-sanitize-recover=undefined))
COVFLAG := $(if $(COVERAGE),--coverage)
STD     := -std=c11 -D_GNU_SOURCE -fPIC -fvisibility=hidden -pthread
INC     := -Icore -Icore/include
CFLAGS  ?= -g
ALL_CFLAGS = $(STD) $(WARN) $(OPT) $(CFLAGS) $(SANFLAG) $(COVFLAG) $(if $(BUG),-DLDR_BUG_$(BUG)) $(INC) $(PKG_CFLAGS)
ALL_LIBS   = $(LDFLAGS) $(SANFLAG) $(if $(COVERAGE),--coverage) $(PKG_LIBS) -pthread -lm

# LOOSE=1 leaves out a file that does not compile, with a loud line: for a tree in which several people write.
cc = $(if $(LOOSE),$(1) || { echo "  LEFT OUT $<"; rm -f $@; },$(1))
have = $(if $(LOOSE),$(if $(strip $(1)),$$(ls $(1) 2>/dev/null)),$(1))

# ---- targets -----------------------------------------------------------------------------------------------
SETUPS := $(addprefix setup-,demo build test bench lint prove docs)
.PHONY: help all env demo test test-quick prove bench bench-nginx lint docs install uninstall clean FORCE
.PHONY: lib modules module-5.4 module-luajit specs spec-names benches bugs $(SETUPS)
.PHONY: install-rock

help: ## print these targets
	@echo 'make TARGET [SAN=address|undefined|thread] [COVERAGE=1] [WITH_SQLITE=0] [WITH_ZSTD=0] [WITH_JSON=0] [WITH_REDIS=0] [CC=...] [V=1]'
	@sed -n 's/^\([a-z][a-z-]*\):.*## \(.*\)/  \1\t\2/p' Makefile | expand -t 16

all: lib modules ## build the library, its pkg-config file and the modules for Lua 5.4 and LuaJIT
lib: $(LIB_SO) $(LIB_A) $(OUT)/larder.pc
modules: module-5.4 module-luajit
module-5.4: $(MOD54)
module-luajit: $(MODJT)
specs: $(SPECS)
spec-names:
	@echo $(notdir $(SPECS))
benches: $(BENCHES)

env: ## print the exports that make this checkout usable: eval "$(make -s env)"
	@sh spec/support/env.sh $(OUT)

demo: setup-demo ## show a cache at work on a real access trace, with what it needs installed first
	@$(MAKE) --no-print-directory -j$(JOBS) module-5.4
	@lua/bin/larder demo $(ARGS)

test: setup-test ## run every kind of test at a reduced count; with SAN=, COVERAGE=, BUG= or WITH_ that variant's specs only
	@$(if $(VARIANT),VARIANT_OUT=$(OUT) )LOOSE=$(LOOSE) sh spec/support/run.sh $(if $(VARIANT),variant,test)

test-quick: setup-test ## run the C specs of the release build and the Lua specs under Lua 5.4
	@LOOSE=$(LOOSE) sh spec/support/run.sh quick

prove: setup-prove ## run the counts and tools that the figures ask for (PART=1: one process; 2: the shared shelf; bare: a bare Debian; TRACES=folder; ONLY="suite ...")
ifeq ($(PART),bare)
	@sh spec/support/bare.sh
else
	@LARDER_PROVE=1 sh spec/support/run.sh $(or $(ONLY),prove$(if $(PART),-$(PART)))
endif

bench: setup-bench ## measure: ratios in one run, minimum and median (PEERS=folder for originals that no package carries)
	@$(MAKE) --no-print-directory -j$(JOBS) all benches
	@sh spec/support/bench.sh $(ONLY)

bench-nginx: setup-bench ## measure inside nginx
	@$(MAKE) --no-print-directory -j$(JOBS) all
	@if [ -f spec/bench/nginx.sh ]; then sh spec/bench/nginx.sh $(ARGS); else echo 'bench-nginx: not built yet'; fi

lint: setup-lint ## compilers without warnings, luacheck, directions of includes, sizes, exported symbols, docs of every name
	@mkdir -p build
	@$(MAKE) --no-print-directory -s -k -j$(JOBS) lib modules >build/lint-build.log 2>&1 || echo 'the build failed, see build/lint-build.log'
	@CC_FLAGS='$(lint_flags)' LUA54_FLAGS='$(LUA54_CFLAGS)' LUAJIT_FLAGS='$(LUAJIT_CFLAGS)' sh spec/support/lint.sh
lint_flags = $(STD) -Wall -Wextra -Werror $(INC) $(PKG_CFLAGS)

docs: setup-docs ## pages of the Lua module's comments, in build/docs
	@mkdir -p build/docs && ldoc -q -p larder -t Larder -d build/docs lua/larder && echo build/docs/index.html

# Each seeded bug of spec/bugs.list must turn its spec red (BUGS="NAME ...": only these); speaks TAP.
bugs: lib modules specs
	@CC='$(CC)' FLAGS='$(ALL_CFLAGS)' LIBS='$(ALL_LIBS)' LUA54_FLAGS='-Ilua $(LUA54_CFLAGS)' LUAJIT_FLAGS='-Ilua $(LUAJIT_CFLAGS)' sh spec/support/bugs.sh $(BUGS)

$(SETUPS): setup-%:
	@sh spec/support/setup.sh $*

JOBS := $(shell nproc 2>/dev/null || echo 2)

# ---- compiling ---------------------------------------------------------------------------------------------
# The flags and the list of sources are written down; what depends on this file is made anew when they change.
FLAGS_NOW = $(CC) $(ALL_CFLAGS) $(ALL_LIBS)
$(OUT)/flags: FORCE
	@mkdir -p $(@D); new='$(subst ','\'',$(FLAGS_NOW))'; \
	 [ -f $@ ] && [ "$$(cat $@)" = "$$new" ] || printf '%s\n' "$$new" > $@
$(OUT)/sources: FORCE
	@mkdir -p $(@D); new='$(CORE_C) $(HELP_C) $(BIND_C)'; [ -f $@ ] && [ "$$(cat $@)" = "$$new" ] || printf '%s\n' "$$new" > $@

# What Redis runs, one script a verb. l2_scripts.c has them as strings, and their SHA1.
$(OUT)/gen/redis/%.lua: core/l2/redis/head.lua core/l2/redis/cell.lua core/l2/redis/%.lua core/l2/redis/compose.awk
	@mkdir -p $(@D); awk -f core/l2/redis/compose.awk core/l2/redis/head.lua core/l2/redis/cell.lua core/l2/redis/$*.lua > $@
$(OUT)/gen/l2_scripts.c: $(SCRIPT_L) Makefile
	@{ echo '#include "l2/scripts.h"'; for f in $(SCRIPT_L); do \
	   printf 'static const char %s[] =\n' "$$(basename $$f .lua)"; sed 's/[\\"]/\\&/g; s/.*/    "&\\n"/' $$f; \
	   printf ';\nconst ldr_script ldr_script_%s = {"%s", {%s, sizeof %s - 1}};\n' \
	     "$$(basename $$f .lua)" "$$(sha1sum < $$f | cut -c1-40)" "$$(basename $$f .lua)" "$$(basename $$f .lua)"; done; } > $@
$(OUT)/obj/gen/%.o: $(OUT)/gen/%.c $(OUT)/flags
	@mkdir -p $(@D)
	$(call say,CC ,$<)$(call cc,$(CC) $(ALL_CFLAGS) -MMD -MP -c $< -o $@)

$(OUT)/obj/%.o: %.c $(OUT)/flags
	@mkdir -p $(@D)
	$(call say,CC ,$<)$(call cc,$(CC) $(ALL_CFLAGS) -MMD -MP -c $< -o $@)
$(OUT)/obj/lua5.4/%.o: %.c $(OUT)/flags
	@mkdir -p $(@D)
	$(call say,CC ,$< (Lua 5.4))$(call cc,$(CC) $(ALL_CFLAGS) -Ilua $(LUA54_CFLAGS) -MMD -MP -c $< -o $@)
$(OUT)/obj/luajit/%.o: %.c $(OUT)/flags
	@mkdir -p $(@D)
	$(call say,CC ,$< (LuaJIT))$(call cc,$(CC) $(ALL_CFLAGS) -Ilua $(LUAJIT_CFLAGS) -MMD -MP -c $< -o $@)

$(LIB_A): $(CORE_O) $(OUT)/sources
	$(call say,AR ,$@)rm -f $@; ar rcs $@ $(call have,$(CORE_O))
$(OUT)/spec/libhelp.a: $(HELP_O) $(OUT)/sources
	$(Q)mkdir -p $(@D); rm -f $@; ar rcs $@ $(call have,$(HELP_O))
$(OUT)/lib.map: Makefile
	@mkdir -p $(@D); echo '{ global: ldr_*; local: *; };' > $@
$(OUT)/module.map: Makefile
	@mkdir -p $(@D); echo '{ global: luaopen_larder_core; local: *; };' > $@

$(LIB_SO): $(CORE_O) $(OUT)/lib.map $(OUT)/sources
	$(call say,LD ,$@)$(CC) -shared $(if $(SAN)$(LOOSE),,-Wl$(comma)-z$(comma)defs) -Wl,-soname,liblarder.so.$(SOMAJOR) -Wl,--version-script=$(OUT)/lib.map \
	  -o $@ $(call have,$(CORE_O)) $(ALL_LIBS) && ln -sf $(@F) $(OUT)/liblarder.so.$(SOMAJOR) && ln -sf $(@F) $(OUT)/liblarder.so
$(MOD54): $(BIND54_O) $(LIB_A) $(OUT)/module.map
	@mkdir -p $(@D)
	$(call say,LD ,$@)$(CC) -shared -Wl,--version-script=$(OUT)/module.map -o $@ $(call have,$(BIND54_O)) $(LIB_A) $(ALL_LIBS)
$(MODJT): $(BINDJT_O) $(LIB_A) $(OUT)/module.map
	@mkdir -p $(@D)
	$(call say,LD ,$@)$(CC) -shared -Wl,--version-script=$(OUT)/module.map -o $@ $(call have,$(BINDJT_O)) $(LIB_A) $(ALL_LIBS)

$(OUT)/spec/%_spec: $(OUT)/obj/spec/core/%_spec.o $(OUT)/spec/libhelp.a $(LIB_A)
	$(call say,LD ,$@)$(call cc,$(CC) -o $@ $< $(OUT)/spec/libhelp.a $(LIB_A) -lcmocka $(ALL_LIBS))
$(OUT)/bench/%: $(OUT)/obj/spec/bench/%.o $(LIB_A)
	@mkdir -p $(@D)
	$(call say,LD ,$@)$(call cc,$(CC) -o $@ $< $(LIB_A) $(ALL_LIBS))

# ---- install -----------------------------------------------------------------------------------------------
define PC
prefix=$(1)
libdir=$${prefix}/lib
includedir=$${prefix}/include

Name: larder
Description: a cache in front of a database
Version: $(VERSION)
Requires.private: $(PKGS)
Libs: -L$${libdir} -llarder
Libs.private: -pthread -lm
Cflags: -I$${includedir}
endef
export LARDER_PC = $(call PC,$(PREFIX))
$(OUT)/larder.pc: FORCE
	@mkdir -p $(@D); printf '%s\n' "$$LARDER_PC" | cmp -s - $@ || printf '%s\n' "$$LARDER_PC" > $@

# What is installed, each file once, as SOURCE:TARGET; uninstall removes exactly these.
DATA      := $(sort $(wildcard examples/data/*))
I_LIB     := $(foreach f,liblarder.a liblarder.so.$(VERSION),$(OUT)/$(f):$(PREFIX)/lib/$(f)) $(OUT)/larder.pc:$(PREFIX)/lib/pkgconfig/larder.pc \
             $(foreach f,$(wildcard core/include/*.h),$(f):$(PREFIX)/include/$(notdir $(f)))
lua_files  = $(foreach f,$(LUA_SRC),$(f):$(1)/$(f:lua/%=%))
I_LUA     := $(call lua_files,$(PREFIX)/share/lua/5.4) $(call lua_files,$(PREFIX)/share/lua/5.1)
I_MODULE  := $(MOD54):$(PREFIX)/lib/lua/5.4/larder/core.so $(MODJT):$(PREFIX)/lib/lua/5.1/larder/core.so
I_BIN     := lua/bin/larder:$(PREFIX)/bin/larder
# The demo's trace stands beside the Lua files, so that it is found wherever require "larder" finds those.
data_files = $(foreach f,$(DATA),$(f):$(1)/larder/data/$(notdir $(f)))
I_DATA    := $(call data_files,$(PREFIX)/share/lua/5.4) $(call data_files,$(PREFIX)/share/lua/5.1)
INSTALLED := $(I_LIB) $(I_LUA) $(I_MODULE) $(I_BIN) $(I_DATA)
I_LINKS   := $(PREFIX)/lib/liblarder.so $(PREFIX)/lib/liblarder.so.$(SOMAJOR)
I_DIRS    := $(PREFIX)/share/lua/5.4/larder $(PREFIX)/share/lua/5.1/larder $(PREFIX)/lib/lua/5.4/larder $(PREFIX)/lib/lua/5.1/larder
# Programs and libraries are executable, all else is only read.
mode       = $(if $(filter %.so %.so.$(VERSION) %/bin/larder,$(1)),755,644)
put        = $(foreach f,$(1),install -D -m $(call mode,$(f)) '$(firstword $(subst :, ,$(f)))' '$(DESTDIR)$(lastword $(subst :, ,$(f)))' && ) true

install: all ## install below $(DESTDIR)$(PREFIX): library, header, Lua files, modules, the command
	@$(call put,$(INSTALLED))
	@for l in $(I_LINKS); do ln -sf liblarder.so.$(VERSION) "$(DESTDIR)$$l" || exit 1; done
	@echo 'installed $(words $(INSTALLED)) files below $(DESTDIR)$(PREFIX)'

uninstall: ## remove exactly what install put there
	@rm -f $(foreach f,$(INSTALLED),'$(DESTDIR)$(lastword $(subst :, ,$(f)))') $(I_LINKS:%='$(DESTDIR)%')
	@for d in $(I_DIRS); do [ ! -d "$(DESTDIR)$$d" ] || find "$(DESTDIR)$$d" -depth -type d -empty -delete; done

# Used by the rockspec: the same files for Lua 5.4 only, where luarocks wants them.
install-rock: module-5.4
	@$(call put,$(call lua_files,$(LUADIR)) $(MOD54):$(LIBDIR)/larder/core.so $(I_BIN:%$(PREFIX)/bin/larder=%$(BINDIR)/larder) $(call data_files,$(LUADIR)))

clean: ## remove everything that was built
	rm -rf build

-include $(CORE_O:.o=.d) $(BIND54_O:.o=.d) $(BINDJT_O:.o=.d) $(HELP_O:.o=.d) $(SPEC_C:%.c=$(OUT)/obj/%.d) $(BENCH_C:%.c=$(OUT)/obj/%.d)
