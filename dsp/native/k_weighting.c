/* The K filter of ITU-R BS.1770-5, annex 1, and the mean square of what it lets through, in steps of fixed length.
 *
 * A second-order section waits for its own last output. So both sides of it are multiplied by 1 - a1/z + a2/z^2, which
 * leaves (b0 + ... + b4/z^4) / (1 + c2/z^2 + c4/z^4): an output then waits for the last but one, and two of each of two
 * channels are computed at once. */
#include <math.h>

#include "native.h"

#define PAIR 2  /* channels side by side */
#define PAST 4  /* frames that a section looks back */
#define CHUNK 256

typedef double lanes __attribute__((vector_size(32)));
typedef double frame[PAIR];

/* Below this nothing is heard; and numbers that have no normal form are a hundred times slower. */
#define NOTHING 1e-60

struct section {
    double b[5], c2, c4;
};

/* What is remembered of a channel: the last inputs, the outputs of the first section, and of the second. */
enum { STAGES = 3, MEMORY = STAGES * PAST };

static inline __attribute__((always_inline)) lanes two(const frame *at) {
    lanes value;
    memcpy(&value, at, sizeof value);
    return value;
}

/* Filters n frames from in[0] to out[0]; PAST frames before each are read. Pairs or single frames: the same sums. */
static inline __attribute__((always_inline)) void section(const struct section *k, const frame *in, frame *out, size_t n) {
    size_t i = 0;
    lanes last = two(out - 2), before = two(out - 4);
    for (; i + 1 < n; i += 2) {
        const frame *x = in + i;
        lanes y = (k->b[0] * two(x) + k->b[1] * two(x - 1)) + (k->b[2] * two(x - 2) + k->b[3] * two(x - 3));
        y = ((y + k->b[4] * two(x - 4)) - k->c4 * before) - k->c2 * last;
        before = last, last = y;
        memcpy(out + i, &y, sizeof y);
    }
    for (int c = 0; i < n && c < PAIR; c++) {
        const frame *x = in + i, *o = out + i;
        double y = (k->b[0] * x[0][c] + k->b[1] * x[-1][c]) + (k->b[2] * x[-2][c] + k->b[3] * x[-3][c]);
        out[i][c] = ((y + k->b[4] * x[-4][c]) - k->c4 * o[-4][c]) - k->c2 * o[-2][c];
    }
}

/* Adds the squares of n frames to the sums of even and odd frames. */
static inline __attribute__((always_inline)) void add_squares(const frame *in, size_t n, frame sums[2], size_t odd) {
    size_t i = 0;
    for (; i < n && odd; i++, odd = 0)
        for (int c = 0; c < PAIR; c++)
            sums[1][c] += in[i][c] * in[i][c];
    lanes sum = two((const frame *)sums);
    for (; i + 1 < n; i += 2)
        sum += two(in + i) * two(in + i);
    memcpy(sums, &sum, sizeof sum);
    for (int c = 0; i < n && c < PAIR; c++)
        sums[0][c] += in[i][c] * in[i][c];
}

/* Filters n frames of two channels, and adds their squares to the sums of even and odd frames. */
EACH_CPU static void add_power(const float *const x[PAIR], size_t n, const struct section k[2],
                               frame memory[STAGES][PAST], frame sums[2], size_t odd) {
    frame stages[STAGES][PAST + CHUNK];
    for (size_t at = 0; at < n; at += CHUNK) {
        size_t count = n - at < CHUNK ? n - at : CHUNK;
        for (int s = 0; s < STAGES; s++)
            memcpy(stages[s], memory[s], sizeof memory[s]);
        for (size_t i = 0; i < count; i++)
            for (int c = 0; c < PAIR; c++)
                stages[0][PAST + i][c] = x[c][at + i];
        for (int s = 0; s < 2; s++)
            section(&k[s], (const frame *)stages[s] + PAST, stages[s + 1] + PAST, count);
        add_squares((const frame *)stages[2] + PAST, count, sums, (odd + at) & 1);
        for (int s = 0; s < STAGES; s++)
            memcpy(memory[s], stages[s] + count, sizeof memory[s]);
    }
}

static void flush(frame memory[STAGES][PAST]) {
    double *values = &memory[0][0][0];
    for (int i = 0; i < STAGES * PAST * PAIR; i++)
        if (fabs(values[i]) < NOTHING)
            values[i] = 0.0;
}

/* Greatest magnitude of n samples, or `most` where that is greater; magnitudes are ordered as their bits are. */
EACH_CPU static float magnitude(const float *x, size_t n, float most) {
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
 * ends among them to `energies`, its greatest magnitude to `peaks`, both (channels, room). `state` is
 * (channels, MEMORY); `sums`, (channels, 2), and `tops`, (channels), are of the step that is not full yet, `filled`
 * its frames. */
void cc_k_weigh(const float *samples, size_t stride, size_t channels, size_t frames, const double *coefficients,
                size_t step, double *state, double *sums, float *tops, size_t filled, double *energies, float *peaks,
                size_t room) {
    for (size_t channel = 0; channel < channels; channel += PAIR) {
        size_t own[PAIR] = {channel, channel + 1 < channels ? channel + 1 : channel};
        frame memory[STAGES][PAST], sum[2];
        for (int c = 0; c < PAIR; c++) {
            sum[0][c] = sums[2 * own[c]], sum[1][c] = sums[2 * own[c] + 1];
            for (int i = 0; i < MEMORY; i++)
                memory[i / PAST][i % PAST][c] = state[own[c] * MEMORY + i];
        }
        size_t in_step = filled, ended = 0;
        for (size_t at = 0; at < frames;) {
            size_t n = step - in_step < frames - at ? step - in_step : frames - at;
            const float *const x[PAIR] = {samples + own[0] * stride + at, samples + own[1] * stride + at};
            add_power(x, n, (const struct section *)coefficients, memory, sum, in_step);
            for (int c = 0; c < PAIR; c++)
                tops[own[c]] = magnitude(x[c], n, tops[own[c]]);
            at += n, in_step += n;
            if (in_step < step)
                continue;
            for (int c = 0; c < PAIR; c++) {
                energies[own[c] * room + ended] = (sum[0][c] + sum[1][c]) / (double)step;
                peaks[own[c] * room + ended] = tops[own[c]];
                sum[0][c] = sum[1][c] = 0.0;
            }
            tops[own[0]] = tops[own[1]] = 0.0f;
            flush(memory);
            ended++, in_step = 0;
        }
        for (int c = 0; c < PAIR; c++) {
            sums[2 * own[c]] = sum[0][c], sums[2 * own[c] + 1] = sum[1][c];
            for (int i = 0; i < MEMORY; i++)
                state[own[c] * MEMORY + i] = memory[i / PAST][i % PAST][c];
        }
    }
}
