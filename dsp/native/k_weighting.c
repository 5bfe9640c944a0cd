/* The K filter of ITU-R BS.1770-5, annex 1, and the mean square of what it lets through, in steps of fixed length. */
#include "native.h"

/* Two channels side by side: each section waits for its own last output, which a second channel fills. */
typedef double pair __attribute__((vector_size(16)));

/* Below this, in state, nothing is heard; and numbers that have no normal form are a hundred times slower. */
#define NOTHING 1e-60

struct sections {
    double b0, b1, b2, a1, a2;
};

static pair flushed(pair value) {
    for (int lane = 0; lane < 2; lane++)
        if (value[lane] < NOTHING && value[lane] > -NOTHING)
            value[lane] = 0.0;
    return value;
}

/* Adds the squares of n filtered frames of two channels to `sum`; transposed direct form II. */
static pair add_power(pair sum, const float *first, const float *second, size_t n, const struct sections *k,
                      pair state[4]) {
    pair s0 = state[0], s1 = state[1], s2 = state[2], s3 = state[3];
    for (size_t i = 0; i < n; i++) {
        pair x = {first[i], second[i]};
        pair y = k[0].b0 * x + s0;
        s0 = (k[0].b1 * x + s1) - k[0].a1 * y;
        s1 = k[0].b2 * x - k[0].a2 * y;
        pair z = k[1].b0 * y + s2;
        s2 = (k[1].b1 * y + s3) - k[1].a1 * z;
        s3 = k[1].b2 * y - k[1].a2 * z;
        sum += z * z;
    }
    state[0] = s0, state[1] = s1, state[2] = s2, state[3] = s3;
    return sum;
}

/* Greatest magnitude of n samples, or `most` where that is greater; magnitudes are ordered as their bits are. */
static float magnitude(const float *x, size_t n, float most) {
    int32_t found, bits;
    memcpy(&found, &most, sizeof found);
    for (size_t i = 0; i < n; i++) {
        memcpy(&bits, x + i, sizeof bits);
        bits &= 0x7fffffff;
        found = bits > found ? bits : found;
    }
    memcpy(&most, &found, sizeof most);
    return most;
}

/* Filters `frames` frames of channels that lie `stride` floats apart, and writes the mean square of every step that
 * ends among them to `energies`, its greatest magnitude to `peaks`, both (channels, room). `state` is (channels, 4);
 * `sums` and `tops`, (channels), are of the step that is not full yet, `filled` its frames. */
void cc_k_weigh(const float *samples, size_t stride, size_t channels, size_t frames, const double *coefficients,
              size_t step, double *state, double *sums, float *tops, size_t filled, double *energies, float *peaks,
                size_t room) {
    const struct sections *k = (const struct sections *)coefficients;
    for (size_t channel = 0; channel < channels; channel += 2) {
        size_t other = channel + 1 < channels ? channel + 1 : channel;
        const float *first = samples + channel * stride, *second = samples + other * stride;
        double *own = state + 4 * channel, *its = state + 4 * other;
        pair s[4], sum = {sums[channel], sums[other]};
        for (int i = 0; i < 4; i++)
            s[i] = (pair){own[i], its[i]};
        size_t at = 0, in_step = filled, ended = 0;
        while (at < frames) {
            size_t n = step - in_step < frames - at ? step - in_step : frames - at;
            tops[channel] = magnitude(first + at, n, tops[channel]);
            if (other != channel)
                tops[other] = magnitude(second + at, n, tops[other]);
            sum = add_power(sum, first + at, second + at, n, k, s);
            at += n, in_step += n;
            if (in_step == step) {
                energies[channel * room + ended] = sum[0] / (double)step;
                energies[other * room + ended] = sum[1] / (double)step;
                peaks[channel * room + ended] = tops[channel], peaks[other * room + ended] = tops[other];
                tops[channel] = tops[other] = 0.0f;
                ended++, in_step = 0, sum = (pair){0.0, 0.0};
                for (int i = 0; i < 4; i++)
                    s[i] = flushed(s[i]);
            }
        }
        for (int i = 0; i < 4; i++)
            own[i] = s[i][0], its[i] = s[i][1];
        sums[channel] = sum[0], sums[other] = sum[1];
    }
}
