/* The signal between its samples (ITU-R BS.1770-5, annex 2), where it can matter. */
#ifndef CLEARCALL_TRUE_PEAK_H
#define CLEARCALL_TRUE_PEAK_H

#include "native.h"

#define BEFORE 19 /* samples that interpolation takes before the one that it begins at ... */
#define AFTER 20  /* ... and after it */
#define TAPS 40
#define LANES 16
#define MANY (4 * LANES) /* frames that are looked at together, since most can have no peak */

typedef float lanes __attribute__((vector_size(64)));
typedef int32_t marks __attribute__((vector_size(64)));

/* Made by dsp.true_peak: taps of up to 16 places from a sample up to the next, the first of them the sample itself. */
struct interpolator {
    float taps[TAPS][LANES];
    float greatest[TAPS]; /* of each tap, over all places */
    float bound;          /* no place exceeds the greatest sample in reach by more than this factor */
};

static inline __attribute__((always_inline)) void load(lanes *to, const float *from) {
    memcpy(to, from, sizeof *to);
}

static inline __attribute__((always_inline)) void absolute(lanes *value) {
    marks bits;
    memcpy(&bits, value, sizeof bits);
    bits &= 0x7fffffff;
    memcpy(value, &bits, sizeof bits);
}

static inline __attribute__((always_inline)) void greater(lanes *kept, const lanes *other) {
    marks is_greater = *other > *kept;
    marks a, b;
    memcpy(&a, kept, sizeof a);
    memcpy(&b, other, sizeof b);
    a = (b & is_greater) | (a & ~is_greater);
    memcpy(kept, &a, sizeof a);
}

static inline __attribute__((always_inline)) float greatest_of(const lanes *value) {
    /* Halves against each other: few steps, not fifteen that wait for one another. */
    float eight[8], four[4];
    for (int i = 0; i < 8; i++)
        eight[i] = (*value)[i] > (*value)[i + 8] ? (*value)[i] : (*value)[i + 8];
    for (int i = 0; i < 4; i++)
        four[i] = eight[i] > eight[i + 4] ? eight[i] : eight[i + 4];
    float a = four[0] > four[2] ? four[0] : four[2], b = four[1] > four[3] ? four[1] : four[3];
    return a > b ? a : b;
}

/* Greatest magnitude from x[0] up to x[1]; x[-BEFORE] to x[AFTER] are read. */
static inline __attribute__((always_inline)) float between(const struct interpolator *with, const float *x) {
    lanes sums[4] = {{0}, {0}, {0}, {0}};
    for (int tap = 0; tap < TAPS; tap += 4)
        for (int i = 0; i < 4; i++) {
            lanes taps;
            load(&taps, with->taps[tap + i]);
            sums[i] += taps * x[tap + i - BEFORE];
        }
    lanes places = (sums[0] + sums[1]) + (sums[2] + sums[3]);
    absolute(&places);
    return greatest_of(&places);
}

/* Greatest sample magnitude that interpolation from x[0] up to x[frames] reaches; whole LANES. */
static inline __attribute__((always_inline)) float in_reach(const float *x, size_t frames) {
    lanes most, next;
    load(&most, x + AFTER + frames - LANES);
    absolute(&most);
    for (size_t i = 0; i < frames + BEFORE + AFTER - LANES; i += LANES) {
        load(&next, x + i - BEFORE);
        absolute(&next);
        greater(&most, &next);
    }
    return greatest_of(&most);
}

/* What the magnitude cannot exceed from x[i] up to x[i + 1], for LANES frames from x[0] on. */
static inline __attribute__((always_inline)) void bounds(const struct interpolator *with, const float *x, lanes *found) {
    lanes sums[2] = {{0}, {0}};
    for (int tap = 0; tap < TAPS; tap += 2)
        for (int i = 0; i < 2; i++) {
            lanes value;
            load(&value, x + tap + i - BEFORE);
            absolute(&value);
            sums[i] += value * with->greatest[tap + i];
        }
    *found = sums[0] + sums[1];
}

#endif
