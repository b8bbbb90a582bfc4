/* plugins.h - the one list of what can be plugged in by name. */
#ifndef LDR_PLUGINS_H
#define LDR_PLUGINS_H

#include "source/source.h"

/* Opens the source that the options name, if any. *out NULL and LDR_OK: none named. */
int ldr_plugins_open_source(const ldr_options *o, const ldr_mem *mem, ldr_source **out, ldr_err *err);

#endif
