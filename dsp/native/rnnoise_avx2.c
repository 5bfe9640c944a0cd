/* RNNoise for x86 processors with avx2. */
#if defined(__x86_64__)
#include "rnnoise.h"

#include <immintrin.h>
#include <math.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2")
#endif
#define RN_LEVEL RN_AVX2
#define RN_RUN cc_rnnoise_run_avx2
#include "rnnoise_level.h"
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#else
typedef int rn_nothing_to_compile;
#endif
