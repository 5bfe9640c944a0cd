/* RNNoise for x86 processors with avx2,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni. */
#if defined(__x86_64__)
#include "rnnoise.h"

#include <immintrin.h>
#include <math.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")
#endif
#define RN_LEVEL RN_AVX512
#define RN_RUN cc_rnnoise_run_avx512
#include "rnnoise_level.h"
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#else
typedef int rn_nothing_to_compile;
#endif
