/* Pitch period and periodicity of a frame, as RNNoise 0.2 finds them (the search of CELT, RFC 6716, section 4.4.4 ff. in
 * its encoder): whiten 36 ms at 24 kHz, correlate at 12 kHz, refine at 24 kHz, look for a shorter true period.
 * Included by each level. */
#include "rnnoise.h"

enum {
    RN_LENGTH = RN_HISTORY + RN_NEW,             /* 864 samples at 24 kHz */
    RN_PAST_24K = RN_PERIOD_MAX / 2,             /* 384 of them before the 480 that are compared */
    RN_COMPARED = RN_LENGTH - RN_PAST_24K,       /* 480 */
    RN_PERIOD_MIN_24K = 30,
    RN_LAGS_24K = (RN_PERIOD_MAX - 3 * 60) / 2,  /* 294: the search leaves out the shortest periods */
    RN_LAGS_12K = RN_LAGS_24K / 2,               /* 147 */
    RN_LAGS_PADDED = 160,
};

/* What the steps of the search share: the whitened signal and its squares. */
typedef struct {
    float white[RN_LENGTH + 16];
    float square[RN_LENGTH + 16];
    float even[RN_LENGTH / 2 + 16]; /* at 12 kHz */
    float upto[RN_LENGTH / 8 + 1];  /* sums of the squares before each eighth sample */
} rn_pitch;

static inline float rn_sum(const rn_vec *v) {
    return (((*v)[0] + (*v)[4]) + ((*v)[2] + (*v)[6])) + (((*v)[1] + (*v)[5]) + ((*v)[3] + (*v)[7]));
}

/* Sum of the products of `n` samples, n a multiple of 32. */
static inline float rn_dot(const float *x, const float *y, int n) {
    rn_vec s[4] = {{0}, {0}, {0}, {0}};
    for (int i = 0; i < n; i += 32)
        for (int v = 0; v < 4; v++)
            s[v] += *(const rn_vec_any *)(x + i + 8 * v) * *(const rn_vec_any *)(y + i + 8 * v);
    s[0] = (s[0] + s[1]) + (s[2] + s[3]);
    return rn_sum(s);
}

/* Linear prediction of fourth order (Levinson and Durbin), stopped at a gain of 30 dB. */
static void rn_predict(const float *ac, float *lpc) {
    float error = ac[0];
    for (int i = 0; i < 4; i++) lpc[i] = 0.0f;
    for (int i = 0; i < 4 && ac[0] > 0.0f; i++) {
        float sum = ac[i + 1];
        for (int j = 0; j < i; j++) sum += lpc[j] * ac[i - j];
        float reflection = -sum / error, old[4];
        memcpy(old, lpc, sizeof old);
        for (int j = 0; j < i; j++) lpc[j] = old[j] + reflection * old[i - 1 - j];
        lpc[i] = reflection;
        error -= reflection * reflection * error;
        if (error < 0.001f * ac[0]) break;
    }
}

/* Flattens the spectrum: the prediction, drawn in by 0.9 a sample, and a zero at -0.8. RNNoise's signal begins with a step,
 * for its first sample at 24 kHz lacks the `edge` that it would have from the sample before. */
static void rn_whiten(const float *x, float edge, rn_pitch *p) {
    float ac[5], lpc[4], taps[5], widen = 1.0f;
    float *padded = p->square; /* free until the squares are taken: x after eight zeros */
    memset(padded, 0, 8 * sizeof(float));
    memcpy(padded + 8, x, RN_LENGTH * sizeof(float));
    padded[8] -= edge;
    for (int k = 0; k < 5; k++) ac[k] = rn_dot(padded + 8, padded + 8 - k, RN_LENGTH);
    ac[0] *= 1.0001f; /* a floor of -40 dB */
    for (int k = 1; k < 5; k++) ac[k] -= ac[k] * (0.008f * (float)k) * (0.008f * (float)k);
    rn_predict(ac, lpc);
    for (int k = 0; k < 4; k++) lpc[k] *= widen *= 0.9f;
    taps[0] = lpc[0] + 0.8f;
    for (int k = 1; k < 4; k++) taps[k] = lpc[k] + 0.8f * lpc[k - 1];
    taps[4] = 0.8f * lpc[3];
    for (int i = 0; i < RN_LENGTH; i++) {
        const float *at = padded + 8 + i;
        p->white[i] = at[0] + taps[0] * at[-1] + taps[1] * at[-2] + taps[2] * at[-3] + taps[3] * at[-4] +
                      taps[4] * at[-5];
    }
    for (int i = 0; i < RN_LENGTH; i++) p->square[i] = p->white[i] * p->white[i];
    for (int i = 0; i < RN_LENGTH / 2; i++) p->even[i] = p->white[2 * i];
    p->upto[0] = 0.0f;
    for (int i = 0; i < RN_LENGTH / 8; i++) {
        rn_vec eight = *(const rn_vec_any *)(p->square + 8 * i);
        p->upto[i + 1] = p->upto[i] + rn_sum(&eight);
    }
}

/* Energy of the 480 samples from `start` on; never below zero, where rounding would put it. */
static float rn_energy(const rn_pitch *p, int start) {
    int whole = start & ~7;
    float e = p->upto[(whole + RN_COMPARED) / 8] - p->upto[whole / 8];
    for (int i = whole; i < start; i++) e += p->square[i + RN_COMPARED] - p->square[i];
    return e > 0.0f ? e : 0.0f;
}

/* The two lags of the greatest normalized correlation so far. */
typedef struct {
    float over[2], under[2];
    int lag[2];
} rn_best;

static inline void rn_consider(rn_best *best, int lag, float correlation, float energy) {
    if (correlation <= 0.0f) return;
    float c = correlation * 1e-12f; /* its square stays in range */
    c *= c;
    if (c * best->under[1] <= best->over[1] * energy) return;
    int place = c * best->under[0] > best->over[0] * energy ? 0 : 1;
    if (place == 0) {
        best->over[1] = best->over[0];
        best->under[1] = best->under[0];
        best->lag[1] = best->lag[0];
    }
    best->over[place] = c;
    best->under[place] = energy;
    best->lag[place] = lag;
}

static const rn_best rn_none = {{-1.0f, -1.0f}, {0.0f, 0.0f}, {0, 1}};

/* Coarse search at 12 kHz. */
static rn_best rn_coarse(const rn_pitch *p) {
    enum { N = RN_COMPARED / 2 };
    const float *x = p->even + RN_PAST_24K / 2, *y = p->even;
    float correlation[RN_LAGS_PADDED], change[RN_LAGS_PADDED];
    for (int first = 0; first < RN_LAGS_PADDED; first += 80) {
        rn_vec s[10] = {{0}, {0}, {0}, {0}, {0}, {0}, {0}, {0}, {0}, {0}};
        for (int j = 0; j < N; j++)
            for (int v = 0; v < 10; v++) s[v] += *(const rn_vec_any *)(y + j + first + 8 * v) * x[j];
        memcpy(correlation + first, s, sizeof s);
    }
    for (int i = 0; i < RN_LAGS_12K; i++) change[i] = y[i + N] * y[i + N] - y[i] * y[i];
    float energy = 1.0f + rn_dot(y, y, N - 16);
    for (int i = N - 16; i < N; i++) energy += y[i] * y[i];
    rn_best best = rn_none;
    for (int i = 0; i < RN_LAGS_12K; i++) {
        rn_consider(&best, i, correlation[i], energy);
        energy += change[i];
        energy = energy > 1.0f ? energy : 1.0f;
    }
    return best;
}

/* Where three correlations in a row peak: a step to either side, or none. */
static int rn_lean(float before, float at, float after) {
    if (after - before > 0.7f * (at - before)) return 1;
    return before - after > 0.7f * (at - after) ? -1 : 0;
}

/* Lag of the best match, samples at 48 kHz before the end of the search range. */
static int rn_search(const rn_pitch *p) {
    rn_best coarse = rn_coarse(p), fine = rn_none;
    float correlation[RN_LAGS_24K + 1];
    memset(correlation, 0, sizeof correlation);
    for (int i = 0; i < RN_LAGS_24K; i++) {
        if (abs(i - 2 * coarse.lag[0]) > 2 && abs(i - 2 * coarse.lag[1]) > 2) continue;
        float sum = rn_dot(p->white + RN_PAST_24K, p->white + i, RN_COMPARED);
        correlation[i] = sum > -1.0f ? sum : -1.0f;
        rn_consider(&fine, i, correlation[i], 1.0f + rn_energy(p, i));
    }
    int lag = fine.lag[0], lean = 0;
    if (lag > 0 && lag < RN_LAGS_24K - 1) lean = rn_lean(correlation[lag - 1], correlation[lag], correlation[lag + 1]);
    return 2 * lag - lean;
}

static inline float rn_normalized(float xy, float xx, float yy) { return xy / sqrtf(1.0f + xx * yy); }

/* How much correlation a period that is `k` times shorter needs to be believed. */
static float rn_threshold(int period, int k, int whole, int last, float last_gain, float gain) {
    float kept = 0.0f;
    if (abs(period - last) <= 1) kept = last_gain;
    else if (abs(period - last) <= 2 && 5 * k * k < whole) kept = 0.5f * last_gain;
    int early = period < 3 * RN_PERIOD_MIN_24K;
    float least = early ? 0.4f : 0.3f, bar = (early ? 0.85f : 0.7f) * gain - kept;
    return bar > least ? bar : least;
}

/* The period at 48 kHz and how periodic the frame is, from the newest RN_LENGTH samples at 24 kHz. */
static int rn_period(const float *signal, float edge, rn_channel *state) {
    static const int checks[16] = {0, 0, 3, 2, 3, 2, 5, 2, 3, 2, 3, 2, 5, 2, 3, 2};
    rn_pitch p;
    rn_whiten(signal, edge, &p);
    const float *x = p.white + RN_PAST_24K;
    int whole = (RN_PERIOD_MAX - rn_search(&p)) / 2, last = state->last_period / 2;
    if (whole >= RN_PAST_24K) whole = RN_PAST_24K - 1;
    int period = whole;
    float xx = rn_dot(x, x, RN_COMPARED), xy = rn_dot(x, x - whole, RN_COMPARED);
    float yy = rn_energy(&p, RN_PAST_24K - whole), best_xy = xy, best_yy = yy;
    float gain = rn_normalized(xy, xx, yy);
    const float whole_gain = gain;
    for (int k = 2; k <= 15; k++) {
        int shorter = (2 * whole + k) / (2 * k), other = (2 * checks[k] * whole + k) / (2 * k);
        if (shorter < RN_PERIOD_MIN_24K) break;
        if (k == 2) other = shorter + whole > RN_PAST_24K ? whole : whole + shorter;
        xy = 0.5f * (rn_dot(x, x - shorter, RN_COMPARED) + rn_dot(x, x - other, RN_COMPARED));
        yy = 0.5f * (rn_energy(&p, RN_PAST_24K - shorter) + rn_energy(&p, RN_PAST_24K - other));
        float g = rn_normalized(xy, xx, yy);
        if (g > rn_threshold(shorter, k, whole, last, state->last_gain, whole_gain)) {
            best_xy = xy;
            best_yy = yy;
            period = shorter;
            gain = g;
        }
    }
    best_xy = best_xy > 0.0f ? best_xy : 0.0f;
    float share = best_yy <= best_xy ? 1.0f : best_xy / (best_yy + 1.0f);
    int lean = rn_lean(rn_dot(x, x - (period - 1), RN_COMPARED), rn_dot(x, x - period, RN_COMPARED),
                       rn_dot(x, x - (period + 1), RN_COMPARED));
    state->last_gain = share < gain ? share : gain;
    state->last_period = 2 * period + lean;
    if (state->last_period < 2 * RN_PERIOD_MIN_24K) state->last_period = 2 * RN_PERIOD_MIN_24K;
    return state->last_period;
}
