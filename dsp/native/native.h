/* What all kernels share. */
#ifndef CLEARCALL_NATIVE_H
#define CLEARCALL_NATIVE_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Compiled for several x86 levels, chosen when the library is loaded. The compiler may not reorder or fuse floating
 * point operations, so every level computes the same bits. */
#if defined(__x86_64__) && defined(__gnu_linux__)
#define EACH_CPU __attribute__((target_clones("default", "arch=haswell", "arch=x86-64-v4")))
#else
#define EACH_CPU
#endif

#endif
