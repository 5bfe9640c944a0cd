/* Products of 8-bit weights with unsigned 8-bit activations, and of 16-bit ones with 16-bit ones, summed exactly in 32
 * bits: whichever instruction of the level does it, the result is the same. Included by each level. */
#include "rnnoise.h"

#if RN_LEVEL != RN_PLAIN
#include <immintrin.h>
#endif

/* Four 8-bit or two 16-bit inputs of one row, as they lie in memory. */
static inline int32_t rn_quad(const void *at) {
    int32_t quad;
    memcpy(&quad, at, sizeof quad);
    return quad;
}

#if RN_LEVEL == RN_AVX512

/* 64 outputs of `n` rows, n a constant after inlining. */
static inline __attribute__((always_inline)) void rn_tile(const int8_t *w, const int32_t *start, int quads,
                                                          const uint8_t *rows, size_t stride, int n, int32_t *out,
                                                          size_t out_stride) {
    __m512i sum[4][4];
    for (int r = 0; r < n; r++)
        for (int o = 0; o < 4; o++) sum[r][o] = _mm512_loadu_si512(start + 16 * o);
    for (int q = 0; q < quads; q++, w += 256)
        for (int r = 0; r < n; r++) {
            __m512i x = _mm512_set1_epi32(rn_quad(rows + r * stride + 4 * q));
            for (int o = 0; o < 4; o++)
                sum[r][o] = _mm512_dpbusd_epi32(sum[r][o], x, _mm512_loadu_si512(w + 64 * o));
        }
    for (int r = 0; r < n; r++)
        for (int o = 0; o < 4; o++) _mm512_storeu_si512(out + r * out_stride + 16 * o, sum[r][o]);
}

/* 32 outputs of `n` rows, added to what is there. */
static inline __attribute__((always_inline)) void rn_wide_tile(const int16_t *w, int pairs, const int16_t *rows,
                                                               size_t stride, int n, int32_t *out, size_t out_stride) {
    __m512i sum[4][2];
    for (int r = 0; r < n; r++)
        for (int o = 0; o < 2; o++) sum[r][o] = _mm512_loadu_si512(out + r * out_stride + 16 * o);
    for (int q = 0; q < pairs; q++, w += 64)
        for (int r = 0; r < n; r++) {
            __m512i x = _mm512_set1_epi32(rn_quad(rows + r * stride + 2 * q));
            for (int o = 0; o < 2; o++)
                sum[r][o] = _mm512_dpwssd_epi32(sum[r][o], x, _mm512_loadu_si512(w + 32 * o));
        }
    for (int r = 0; r < n; r++)
        for (int o = 0; o < 2; o++) _mm512_storeu_si512(out + r * out_stride + 16 * o, sum[r][o]);
}

#elif RN_LEVEL == RN_AVX2 || RN_LEVEL == RN_AVX_VNNI

#if RN_LEVEL == RN_AVX_VNNI
#define RN_DOT(sum, x, w) _mm256_dpbusd_avx_epi32(sum, x, w)
#else
/* The sums of two products cannot saturate at 16 bits: activations are at most 254, and the weights of two inputs next
 * to each other add up to at most 129 on either side of zero, which is checked when they are read: 254 * 129 = 32766. */
#define RN_DOT(sum, x, w) _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(x, w), _mm256_set1_epi16(1)))
#endif

static inline __attribute__((always_inline)) void rn_half(const int8_t *w, const int32_t *start, int quads,
                                                          const uint8_t *rows, size_t stride, int n, int32_t *out,
                                                          size_t out_stride) {
    __m256i sum[2][4];
    for (int r = 0; r < n; r++)
        for (int o = 0; o < 4; o++) sum[r][o] = _mm256_loadu_si256((const __m256i *)(start + 8 * o));
    for (int q = 0; q < quads; q++, w += 256) {
        __m256i x[2];
        for (int r = 0; r < n; r++) x[r] = _mm256_set1_epi32(rn_quad(rows + r * stride + 4 * q));
        for (int o = 0; o < 4; o++) {
            __m256i weights = _mm256_loadu_si256((const __m256i *)(w + 32 * o));
            for (int r = 0; r < n; r++) sum[r][o] = RN_DOT(sum[r][o], x[r], weights);
        }
    }
    for (int r = 0; r < n; r++)
        for (int o = 0; o < 4; o++) _mm256_storeu_si256((__m256i *)(out + r * out_stride + 8 * o), sum[r][o]);
}

static inline __attribute__((always_inline)) void rn_tile(const int8_t *w, const int32_t *start, int quads,
                                                          const uint8_t *rows, size_t stride, int n, int32_t *out,
                                                          size_t out_stride) {
    for (int r = 0; r < n; r += 2)
        for (int half = 0; half < 2; half++)
            rn_half(w + 128 * half, start + 32 * half, quads, rows + r * stride, stride, n - r < 2 ? n - r : 2,
                    out + r * out_stride + 32 * half, out_stride);
}

static inline __attribute__((always_inline)) void rn_wide_two(const int16_t *w, int pairs, const int16_t *rows,
                                                              size_t stride, int n, int32_t *out, size_t out_stride) {
    __m256i sum[2][4];
    for (int r = 0; r < n; r++)
        for (int o = 0; o < 4; o++) sum[r][o] = _mm256_loadu_si256((const __m256i *)(out + r * out_stride + 8 * o));
    for (int q = 0; q < pairs; q++, w += 64) {
        __m256i x[2];
        for (int r = 0; r < n; r++) x[r] = _mm256_set1_epi32(rn_quad(rows + r * stride + 2 * q));
        for (int o = 0; o < 4; o++) {
            __m256i weights = _mm256_loadu_si256((const __m256i *)(w + 16 * o));
            for (int r = 0; r < n; r++)
                sum[r][o] = _mm256_add_epi32(sum[r][o], _mm256_madd_epi16(x[r], weights));
        }
    }
    for (int r = 0; r < n; r++)
        for (int o = 0; o < 4; o++) _mm256_storeu_si256((__m256i *)(out + r * out_stride + 8 * o), sum[r][o]);
}

static inline __attribute__((always_inline)) void rn_wide_tile(const int16_t *w, int pairs, const int16_t *rows,
                                                               size_t stride, int n, int32_t *out, size_t out_stride) {
    for (int r = 0; r < n; r += 2)
        rn_wide_two(w, pairs, rows + r * stride, stride, n - r < 2 ? n - r : 2, out + r * out_stride, out_stride);
}

#else

static inline void rn_tile(const int8_t *w, const int32_t *start, int quads, const uint8_t *rows, size_t stride, int n,
                           int32_t *out, size_t out_stride) {
    for (int r = 0; r < n; r++) {
        int32_t sum[64];
        memcpy(sum, start, sizeof sum);
        const int8_t *at = w;
        for (int q = 0; q < quads; q++, at += 256) {
            const uint8_t *x = rows + r * stride + 4 * q;
            for (int o = 0; o < 64; o++)
                sum[o] += x[0] * at[4 * o] + x[1] * at[4 * o + 1] + x[2] * at[4 * o + 2] + x[3] * at[4 * o + 3];
        }
        memcpy(out + r * out_stride, sum, sizeof sum);
    }
}

static inline void rn_wide_tile(const int16_t *w, int pairs, const int16_t *rows, size_t stride, int n, int32_t *out,
                                size_t out_stride) {
    for (int r = 0; r < n; r++) {
        int32_t sum[32];
        memcpy(sum, out + r * out_stride, sizeof sum);
        const int16_t *at = w;
        for (int q = 0; q < pairs; q++, at += 64) {
            const int16_t *x = rows + r * stride + 2 * q;
            for (int o = 0; o < 32; o++) sum[o] += x[0] * at[2 * o] + x[1] * at[2 * o + 1];
        }
        memcpy(out + r * out_stride, sum, sizeof sum);
    }
}

#endif

/* Outputs `o` to `o` + 63 of `n` rows: sums of weight * (activation - 127). */
static inline __attribute__((always_inline)) void rn_block(const rn_layer *layer, int o, const uint8_t *rows,
                                                           size_t stride, int n, int32_t *out, size_t out_stride) {
    enum { QUADS = RN_UNITS / 4 };
    const int8_t *w = layer->weights + (size_t)o * RN_UNITS;
    const int32_t *start = layer->start + o;
    int r = 0;
    for (; r + 4 <= n; r += 4) rn_tile(w, start, QUADS, rows + r * stride, stride, 4, out + r * out_stride, out_stride);
    for (; r + 2 <= n; r += 2) rn_tile(w, start, QUADS, rows + r * stride, stride, 2, out + r * out_stride, out_stride);
    if (r < n) rn_tile(w, start, QUADS, rows + r * stride, stride, 1, out + r * out_stride, out_stride);
}

/* out[row][output] for `outputs` (a multiple of 64) outputs of `n` rows. */
static void rn_product(const rn_layer *layer, int outputs, const uint8_t *rows, size_t stride, int n, int32_t *out) {
    for (int o = 0; o < outputs; o += 64) rn_block(layer, o, rows, stride, n, out + o, outputs);
}

/* out[row][output] += the same for 16-bit weights[output / 32][input / 2][output % 32][input % 2]. */
static void rn_wide(const int16_t *weights, int pairs, int outputs, const int16_t *rows, size_t stride, int n,
                    int32_t *out) {
    for (int o = 0; o < outputs; o += 32, weights += 64 * (size_t)pairs) {
        int r = 0;
        for (; r + 4 <= n; r += 4)
            rn_wide_tile(weights, pairs, rows + r * stride, stride, 4, out + (size_t)r * outputs + o, outputs);
        for (; r + 2 <= n; r += 2)
            rn_wide_tile(weights, pairs, rows + r * stride, stride, 2, out + (size_t)r * outputs + o, outputs);
        if (r < n) rn_wide_tile(weights, pairs, rows + r * stride, stride, 1, out + (size_t)r * outputs + o, outputs);
    }
}
