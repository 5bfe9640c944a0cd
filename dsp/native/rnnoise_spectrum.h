/* Transforms, features and synthesis, with the frames side by side in the lanes of vectors: no shuffling, no sum across
 * lanes. Included by each level. */
#include "rnnoise.h"

#define RN_AT(array, i) (*(rn_vec *)((array) + (size_t)(i) * RN_LANES))

static inline float *rn_swap(float **a, float **b) {
    float *old = *a;
    *a = *b;
    *b = old;
    return old;
}

/* One butterfly of a transform (Stockham, decimation in frequency): `radix` inputs `step` apart, outputs `apart`. */
static inline __attribute__((always_inline)) void rn_butterfly(int radix, const float *re, const float *im, float *to_re,
                                                               float *to_im, int step, int apart, const float *turn,
                                                               int per, int around) {
    rn_vec x[5], y[5], a[5], b[5];
    for (int i = 0; i < radix; i++) {
        x[i] = RN_AT(re, i * step);
        y[i] = RN_AT(im, i * step);
    }
    if (radix == 2) {
        a[0] = x[0] + x[1];
        b[0] = y[0] + y[1];
        a[1] = x[0] - x[1];
        b[1] = y[0] - y[1];
    } else if (radix == 3) {
        const float half = 0.5f, root = 0.86602540378443865f;
        rn_vec sx = x[1] + x[2], sy = y[1] + y[2], dx = (x[1] - x[2]) * root, dy = (y[1] - y[2]) * root;
        rn_vec cx = x[0] - sx * half, cy = y[0] - sy * half;
        a[0] = x[0] + sx;
        b[0] = y[0] + sy;
        a[1] = cx + dy;
        b[1] = cy - dx;
        a[2] = cx - dy;
        b[2] = cy + dx;
    } else if (radix == 4) {
        rn_vec px = x[0] + x[2], py = y[0] + y[2], mx = x[0] - x[2], my = y[0] - y[2];
        rn_vec qx = x[1] + x[3], qy = y[1] + y[3], nx = x[1] - x[3], ny = y[1] - y[3];
        a[0] = px + qx;
        b[0] = py + qy;
        a[1] = mx + ny;
        b[1] = my - nx;
        a[2] = px - qx;
        b[2] = py - qy;
        a[3] = mx - ny;
        b[3] = my + nx;
    } else {
        const float c1 = 0.30901699437494742f, c2 = -0.80901699437494742f, s1 = 0.95105651629515357f,
                    s2 = 0.58778525229247313f;
        rn_vec px = x[1] + x[4], py = y[1] + y[4], mx = x[1] - x[4], my = y[1] - y[4];
        rn_vec qx = x[2] + x[3], qy = y[2] + y[3], nx = x[2] - x[3], ny = y[2] - y[3];
        rn_vec ex = x[0] + px * c1 + qx * c2, ey = y[0] + py * c1 + qy * c2;
        rn_vec fx = x[0] + px * c2 + qx * c1, fy = y[0] + py * c2 + qy * c1;
        rn_vec gx = mx * s1 + nx * s2, gy = my * s1 + ny * s2, hx = mx * s2 - nx * s1, hy = my * s2 - ny * s1;
        a[0] = x[0] + px + qx;
        b[0] = y[0] + py + qy;
        a[1] = ex + gy;
        b[1] = ey - gx;
        a[4] = ex - gy;
        b[4] = ey + gx;
        a[2] = fx + hy;
        b[2] = fy - hx;
        a[3] = fx - hy;
        b[3] = fy + hx;
    }
    RN_AT(to_re, 0) = a[0];
    RN_AT(to_im, 0) = b[0];
    for (int i = 1, w = per; i < radix; i++, w += per) {
        if (w >= around) w -= around;
        const float c = turn[2 * w], s = turn[2 * w + 1];
        RN_AT(to_re, i * apart) = a[i] * c - b[i] * s;
        RN_AT(to_im, i * apart) = a[i] * s + b[i] * c;
    }
}

static inline __attribute__((always_inline)) void rn_stage(int radix, const rn_tables *t, int n, int s, const float *re,
                                                           const float *im, float *to_re, float *to_im) {
    const int m = n / radix, around = 2 * t->hop;
    for (int p = 0; p < m; p++)
        for (int q = 0; q < s; q++) {
            const int from = (q + s * p) * RN_LANES, to = (q + s * radix * p) * RN_LANES;
            rn_butterfly(radix, re + from, im + from, to_re + to, to_im + to, s * m, s, t->twiddle, p * s, around);
        }
}

/* Complex transforms of RN_LANES frames; the pointers change places so that the first two hold the result. */
static void rn_transform(const rn_tables *t, float **re, float **im, float **spare_re, float **spare_im) {
    int n = 2 * t->hop, s = 1;
    for (int i = 0; i < t->stages; i++) {
        switch (t->radix[i]) {
            case 2: rn_stage(2, t, n, s, *re, *im, *spare_re, *spare_im); break;
            case 3: rn_stage(3, t, n, s, *re, *im, *spare_re, *spare_im); break;
            case 4: rn_stage(4, t, n, s, *re, *im, *spare_re, *spare_im); break;
            default: rn_stage(5, t, n, s, *re, *im, *spare_re, *spare_im);
        }
        n /= t->radix[i];
        s *= t->radix[i];
        rn_swap(re, spare_re);
        rn_swap(im, spare_im);
    }
}

/* Common logarithm of positive numbers: the exponent, and the series of atanh for the rest; error under 1e-6. */
static inline float rn_log10(float x) {
    int32_t bits;
    memcpy(&bits, &x, sizeof bits);
    int32_t exponent = (bits - 0x3f3504f3) >> 23; /* mantissa between the roots of 1/2 and 2 */
    bits -= exponent * (1 << 23);
    float m;
    memcpy(&m, &bits, sizeof m);
    float u = (m - 1.0f) / (m + 1.0f), s = u * u;
    float log = u * (2.0f + s * (0.66666667f + s * (0.4f + s * (0.28571429f + s * 0.22222222f))));
    return 0.30103f * (float)exponent + 0.43429448f * log;
}

/* Energies of the bands of the signal and of the signal a pitch period ago, and their products, from the transform of the
 * one as real and the other as imaginary part. The spectra are kept. A bin beyond the band is an image: of a bin below,
 * mirrored or not, and turned by the rest of the period like a bin up there. */
static void rn_bands(const rn_tables *t, const float *re, const float *im, const int32_t *periods, float *spectrum,
                     float *spare, rn_vec energy[][3]) {
    const int around = 2 * t->hop, width = t->edges[RN_BANDS + 1];
    const size_t part = (size_t)t->near * RN_FRAMES;
    rn_vec(*bin)[8] = (rn_vec(*)[8])spare;
    const float *turns[RN_LANES];
    for (int l = 0; l < RN_LANES; l++)
        turns[l] = t->turns + 2 * (size_t)width * ((t->steps - periods[l] % t->steps) % t->steps);
    for (int k = 0; k < t->bins; k++) {
        const int mirror = k == 0 ? 0 : around - k;
        const rn_vec ar = RN_AT(re, k), ai = RN_AT(im, k), br = RN_AT(re, mirror), bi = RN_AT(im, mirror);
        const rn_vec xr = (ar + br) * 0.5f, xi = (ai - bi) * 0.5f, pr = (ai + bi) * 0.5f, pi = (br - ar) * 0.5f;
        rn_vec *to = bin[k];
        to[0] = xr * xr + xi * xi;
        to[1] = pr * pr + pi * pi;
        to[2] = xr * pr + xi * pi;
        to[3] = xi * pr - xr * pi;
        to[4] = xr;
        to[5] = xi;
        to[6] = pr;
        to[7] = pi;
    }
    memset(energy, 0, sizeof(rn_vec) * 3 * (RN_BANDS + 2));
    for (int i = 0, m = 0; i <= RN_BANDS; i++) {
        rn_vec fall[3] = {{0}, {0}, {0}}, rise[3] = {{0}, {0}, {0}};
        for (int k = t->edges[i]; k < t->edges[i + 1]; k++, m = m + 1 < around ? m + 1 : 0) {
            const rn_vec *from = bin[m < t->bins ? m : around - m];
            const float sign = m < t->bins ? 1.0f : -1.0f;
            rn_vec c, s;
            for (int l = 0; l < RN_LANES; l++) {
                c[l] = turns[l][2 * k];
                s[l] = turns[l][2 * k + 1];
            }
            s *= sign;
            const rn_vec both = from[2] * c + from[3] * s;
            fall[0] += from[0] * t->fall[k];
            rise[0] += from[0] * t->rise[k];
            fall[1] += from[1] * t->fall[k];
            rise[1] += from[1] * t->rise[k];
            fall[2] += both * t->fall[k];
            rise[2] += both * t->rise[k];
            if (k >= t->near) continue;
            float *at = spectrum + (size_t)k * RN_FRAMES;
            *(rn_vec *)at = from[4];
            *(rn_vec *)(at + part) = from[5] * sign;
            *(rn_vec *)(at + 2 * part) = from[6] * c - from[7] * s;
            *(rn_vec *)(at + 3 * part) = (from[6] * s + from[7] * c) * sign;
        }
        for (int j = 0; j < 3; j++) {
            energy[i][j] += fall[j];
            energy[i + 1][j] += rise[j];
        }
    }
    for (int j = 0; j < 3; j++) { /* the outermost intervals belong to the outermost bands */
        energy[1][j] = (energy[0][j] + energy[1][j]) * (2.0f / 3.0f);
        energy[RN_BANDS][j] = (energy[RN_BANDS][j] + energy[RN_BANDS + 1][j]) * (2.0f / 3.0f);
    }
}

static void rn_cosines(const rn_tables *t, float in[][RN_LANES], float out[][RN_LANES]) {
    for (int i = 0; i < RN_BANDS; i += 4) {
        rn_vec s[4] = {{0}, {0}, {0}, {0}};
        for (int j = 0; j < RN_BANDS; j++)
            for (int v = 0; v < 4; v++) s[v] += *(const rn_vec *)in[j] * t->dct[(i + v) * RN_BANDS + j];
        memcpy(out[i], s, sizeof s);
    }
}

/* The network's inputs for RN_LANES frames, in out[feature][lane], and which of them are silent. */
static void rn_features(const rn_tables *t, rn_vec energy[][3], const int32_t *periods, float *bands,
                        float out[][RN_LANES], uint8_t *active) {
    float log[RN_BANDS][RN_LANES] __attribute__((aligned(32))), match[RN_BANDS][RN_LANES] __attribute__((aligned(32)));
    float total[RN_LANES] = {0}, most[RN_LANES], follow[RN_LANES];
    for (int l = 0; l < RN_LANES; l++) most[l] = follow[l] = -2.0f;
    for (int b = 0; b < RN_BANDS; b++) {
        float e[RN_LANES], p[RN_LANES], c[RN_LANES];
        memcpy(e, &energy[b + 1][0], sizeof e);
        memcpy(p, &energy[b + 1][1], sizeof p);
        memcpy(c, &energy[b + 1][2], sizeof c);
        for (int l = 0; l < RN_LANES; l++) {
            match[b][l] = c[l] / sqrtf(0.001f + e[l] * p[l]);
            /* No band counts as more than 70 dB below the loudest so far, or falls by more than 15 dB from the last. */
            float y = rn_log10(0.01f + e[l]), floor = follow[l] - 1.5f;
            y = y > floor ? y : floor;
            y = y > most[l] - 7.0f ? y : most[l] - 7.0f;
            most[l] = most[l] > y ? most[l] : y;
            follow[l] = floor > y ? floor : y;
            log[b][l] = y;
            total[l] += e[l];
        }
        memcpy(bands + (size_t)b * RN_FRAMES, e, sizeof e);
        memcpy(bands + (size_t)(RN_BANDS + b) * RN_FRAMES, p, sizeof p);
        memcpy(bands + (size_t)(2 * RN_BANDS + b) * RN_FRAMES, match[b], sizeof match[b]);
    }
    rn_cosines(t, log, out);
    rn_cosines(t, match, out + RN_BANDS);
    for (int l = 0; l < RN_LANES; l++) {
        out[0][l] -= 12.0f;
        out[1][l] -= 4.0f;
        out[2 * RN_BANDS][l] = 0.01f * (float)(periods[l] - 300);
        active[l] = total[l] >= 0.04f;
    }
}

/* The pitch filter: adds the signal of a pitch period ago to that of RN_LANES frames, band by band as far as the two match
 * and the gain is low, and gives the bands back the energy that they had. Puts the spectrum into x[bin], real and
 * imaginary part, and that factor into norm[band]. */
static void rn_comb(const rn_tables *t, const float *spectrum, const float *bands, float gains[][RN_LANES],
                    rn_vec (*x)[2], float norm[][RN_LANES]) {
    const size_t part = (size_t)t->near * RN_FRAMES;
    float add[RN_BANDS][RN_LANES] __attribute__((aligned(32)));
    rn_vec energy[RN_BANDS + 2];
    for (int b = 0; b < RN_BANDS; b++)
        for (int l = 0; l < RN_LANES; l++) {
            const float *at = bands + (size_t)b * RN_FRAMES + l;
            float g = gains[b][l], m = at[2 * RN_BANDS * RN_FRAMES];
            float r = m * m * (1.0f - g * g) / (0.001f + g * g * (1.0f - m * m));
            r = m > g ? 1.0f : r;
            r = r < 1.0f ? r : 1.0f;
            r = r > 0.0f ? r : 0.0f;
            add[b][l] = sqrtf(r * (at[0] / (1e-8f + at[RN_BANDS * RN_FRAMES])));
        }
    memset(energy, 0, sizeof energy);
    for (int i = 0; i <= RN_BANDS; i++) {
        const int below = i == 0 ? 0 : i - 1, above = i == RN_BANDS ? RN_BANDS - 1 : i;
        const rn_vec low = *(rn_vec *)add[below], more = *(rn_vec *)add[above] - low;
        rn_vec fall = {0}, rise = {0};
        for (int k = t->edges[i]; k < t->edges[i + 1] && k < t->near; k++) {
            const float *at = spectrum + (size_t)k * RN_FRAMES;
            const rn_vec share = low + more * t->blend[k];
            rn_vec re = *(const rn_vec *)at + share * *(const rn_vec *)(at + 2 * part);
            rn_vec im = *(const rn_vec *)(at + part) + share * *(const rn_vec *)(at + 3 * part);
            if (k < t->bins) {
                x[k][0] = re;
                x[k][1] = im;
            }
            re = re * re + im * im;
            fall += re * t->fall[k];
            rise += re * t->rise[k];
        }
        energy[i] += fall;
        energy[i + 1] += rise;
    }
    energy[1] = (energy[0] + energy[1]) * (2.0f / 3.0f);
    energy[RN_BANDS] = (energy[RN_BANDS] + energy[RN_BANDS + 1]) * (2.0f / 3.0f);
    for (int b = 0; b < RN_BANDS; b++) {
        float now[RN_LANES];
        memcpy(now, &energy[b + 1], sizeof now);
        for (int l = 0; l < RN_LANES; l++) norm[b][l] = sqrtf(bands[(size_t)b * RN_FRAMES + l] / (1e-8f + now[l]));
    }
}

/* The spectrum of RN_LANES frames as it is, in the form that rn_comb gives. */
static void rn_plain(const rn_tables *t, const float *spectrum, rn_vec (*x)[2], float norm[][RN_LANES]) {
    const size_t part = (size_t)t->near * RN_FRAMES;
    for (int k = 0; k < t->bins; k++)
        for (int i = 0; i < 2; i++) x[k][i] = *(const rn_vec *)(spectrum + i * part + (size_t)k * RN_FRAMES);
    for (int b = 0; b < RN_BANDS; b++)
        for (int l = 0; l < RN_LANES; l++) norm[b][l] = 1.0f;
}

/* Frames of two groups of lanes from their spectra and gains: the windowed signal of the first as real part, that of the
 * second as imaginary part of one inverse transform. What the high-pass did to phases is undone. `room` is for 4 * bins
 * vectors. */
static void rn_inverse(const rn_tables *t, int pitch_filter, const float *spectrum, const float *bands,
                       float (*gains)[RN_FRAMES + 1][RN_BANDS], int group, float **re, float **im, float **spare_re,
                       float **spare_im, float *room) {
    const int around = 2 * t->hop;
    float smooth[2][RN_BANDS][RN_LANES] __attribute__((aligned(32)));
    float norm[2][RN_BANDS][RN_LANES] __attribute__((aligned(32)));
    rn_vec(*x)[2] = (rn_vec(*)[2])room, (*y)[2] = x + t->bins;
    for (int g = 0; g < 2; g++) {
        float raw[RN_BANDS][RN_LANES] __attribute__((aligned(32)));
        for (int b = 0; b < RN_BANDS; b++)
            for (int l = 0; l < RN_LANES; l++) {
                const int frame = (group + g) * RN_LANES + l + 1;
                raw[b][l] = gains[0][frame][b];
                smooth[g][b][l] = gains[1][frame][b];
            }
        const float *own = spectrum + (group + g) * RN_LANES;
        if (pitch_filter)
            rn_comb(t, own, bands + (group + g) * RN_LANES, raw, g ? y : x, norm[g]);
        else
            rn_plain(t, own, g ? y : x, norm[g]);
    }
    memset(*re, 0, sizeof(float) * RN_LANES * around);
    memset(*im, 0, sizeof(float) * RN_LANES * around);
    for (int i = 0; i <= RN_BANDS; i++) {
        const int below = i == 0 ? 0 : i - 1, above = i == RN_BANDS ? RN_BANDS - 1 : i;
        for (int k = t->edges[i]; k < t->edges[i + 1] && k < t->bins; k++) {
            const float c = t->undo[2 * k], s = t->undo[2 * k + 1];
            rn_vec part[2][2];
            for (int g = 0; g < 2; g++) {
                const rn_vec *at = g ? y[k] : x[k];
                const rn_vec low = *(rn_vec *)smooth[g][below], even = *(rn_vec *)norm[g][below];
                const rn_vec gain = (low + (*(rn_vec *)smooth[g][above] - low) * t->blend[k]) *
                                    (even + (*(rn_vec *)norm[g][above] - even) * t->blend[k]);
                part[g][0] = (at[0] * c - at[1] * s) * gain;
                part[g][1] = (at[0] * s + at[1] * c) * gain;
            }
            /* The last bin of a real signal is real: what is not would pass into the other group's frames. */
            if (k == t->hop) part[0][1] = part[1][1] = (rn_vec){0};
            /* An inverse transform is a forward one with the parts exchanged on the way in and on the way out. */
            RN_AT(*im, k) = part[0][0] - part[1][1];
            RN_AT(*re, k) = part[0][1] + part[1][0];
            if (k > 0 && k < t->hop) {
                RN_AT(*im, around - k) = part[0][0] + part[1][1];
                RN_AT(*re, around - k) = part[1][0] - part[0][1];
            }
        }
    }
    rn_transform(t, re, im, spare_re, spare_im);
    rn_swap(re, im);
}
