/* A true-peak limiter with look-ahead. Around each peak over the threshold the gain falls and recovers along a window;
 * where windows overlap the lower gain holds. Nothing recursive: a frame's gain depends on the peaks near it alone. */
#include "true_peak.h"

#define CHUNK 4096 /* frames taken at a time: all that is held stays within the processor's cache */

/* One pass; what it gives out goes through the next one, if there is one. */
struct limiter {
    struct limiter *next;
    int is_first;
    struct interpolator between;
    float threshold;
    size_t channels, ahead, behind, capacity;
    float *window;        /* ahead + 2 + behind: what a peak takes of the gain, from `ahead` frames before it on; up to 1 */
    float *samples;       /* (channels, capacity): BEFORE frames of history, then what is not given out yet */
    unsigned char *moved; /* (capacity): which of these the pass before has changed */
    float *reduction;     /* 1 - gain of each frame from the first that is not given out on, (capacity + window) */
    size_t held;          /* frames in `samples` after the history */
    size_t scanned;       /* of them, those whose peaks are in `reduction` */
};

static size_t window_length(const struct limiter *l) {
    return l->ahead + 2 + l->behind;
}

void cc_limiter_free(struct limiter *l) {
    while (l) {
        struct limiter *next = l->next;
        free(l->window), free(l->samples), free(l->moved), free(l->reduction), free(l);
        l = next;
    }
}

/* `window` as above. NULL where memory is short. */
struct limiter *cc_limiter_new(const struct interpolator *between, size_t channels, float threshold, size_t ahead,
                               size_t behind, const float *window, size_t passes) {
    struct limiter *first = NULL;
    for (; passes > 0; passes--) {
        struct limiter *l = calloc(1, sizeof *l);
        if (!l) {
            cc_limiter_free(first);
            return NULL;
        }
        l->next = first;
        first = l;
        l->is_first = passes == 1;
        l->between = *between;
        l->threshold = threshold, l->channels = channels, l->ahead = ahead, l->behind = behind;
        l->capacity = BEFORE + CHUNK + ahead + AFTER + 2 * LANES;
        l->window = malloc(window_length(l) * sizeof(float));
        l->samples = calloc(channels * l->capacity, sizeof(float));
        l->moved = calloc(l->capacity, 1);
        l->reduction = calloc(l->capacity + window_length(l), sizeof(float));
        if (!l->window || !l->samples || !l->moved || !l->reduction) {
            cc_limiter_free(first);
            return NULL;
        }
        memcpy(l->window, window, window_length(l) * sizeof(float));
    }
    return first;
}

static inline __attribute__((always_inline)) void hold_down(struct limiter *l, size_t frame, float depth) {
    /* A peak after `frame` is held down by the gain at both of its ends: the window is flat there. */
    size_t skipped = frame < l->ahead ? l->ahead - frame : 0;
    float *reduction = l->reduction + frame + skipped - l->ahead;
    const float *window = l->window + skipped;
    size_t length = window_length(l) - skipped;
    for (size_t i = 0; i < length; i++) {
        float wanted = depth * window[i];
        reduction[i] = wanted > reduction[i] ? wanted : reduction[i];
    }
}

/* What to take of the gain where it has to become `gain` at most. A gain that moves shifts the peaks between samples,
 * the more the deeper it falls: on noise 30 dB over the threshold by 0.2 dB. So much is held in hand. */
static inline __attribute__((always_inline)) float depth(float gain) {
    float fall = 1.0f - gain, squared = fall * fall;
    return 1.0f - gain * (1.0f - 0.025f * squared * squared);
}

/* Whether the pass before has changed anything that interpolation from some frames takes. Where it has not, it has
 * found no peak over the threshold either. */
static inline __attribute__((always_inline)) int can_peak(const struct limiter *l, size_t at) {
    uint64_t parts[(BEFORE + LANES + AFTER + 7) / 8], any = 0;
    if (l->is_first)
        return 1;
    memcpy(parts, l->moved + at, sizeof parts);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        any |= parts[i];
    return any != 0;
}

/* Whether MANY frames are so low that no peak between them passes the threshold. */
static inline __attribute__((always_inline)) int is_low(const struct limiter *l, size_t at) {
    for (size_t c = 0; c < l->channels; c++)
        if (in_reach(l->samples + c * l->capacity + BEFORE + at, MANY) * l->between.bound > l->threshold)
            return 0;
    return 1;
}

static inline __attribute__((always_inline)) void scan(struct limiter *l, size_t until) {
    for (size_t at = l->scanned; at < until; at += LANES) {
        if (!can_peak(l, at))
            continue;
        if (until - at >= MANY && is_low(l, at)) {
            at += MANY - LANES;
            continue;
        }
        size_t end = until - at < LANES ? until - at : LANES;
        float peaks[LANES] = {0};
        for (size_t c = 0; c < l->channels; c++) {
            const float *x = l->samples + c * l->capacity + BEFORE + at;
            if (in_reach(x, LANES) * l->between.bound <= l->threshold)
                continue;
            lanes possible;
            bounds(&l->between, x, &possible);
            for (size_t i = 0; i < end; i++)
                if (possible[i] > l->threshold) {
                    float found = between(&l->between, x + i);
                    peaks[i] = found > peaks[i] ? found : peaks[i];
                }
        }
        for (size_t i = 0; i < end; i++)
            if (peaks[i] > l->threshold)
                hold_down(l, at + i, depth(l->threshold / peaks[i]));
    }
    l->scanned = until;
}

/* Gives out `frames` frames and keeps the rest; `moved`, if it is asked for, tells which have been changed. */
static inline __attribute__((always_inline)) void give(struct limiter *l, size_t frames, float *out, size_t stride,
                                                       unsigned char *moved) {
    for (size_t c = 0; c < l->channels; c++) {
        float *x = l->samples + c * l->capacity;
        float *to = out + c * stride;
        for (size_t i = 0; i < frames; i++)
            to[i] = x[BEFORE + i] * (1.0f - l->reduction[i]);
        memmove(x, x + frames, (BEFORE + l->held - frames) * sizeof(float));
    }
    if (moved)
        for (size_t i = 0; i < frames; i++)
            moved[i] = l->reduction[i] > 0.0f;
    memmove(l->moved, l->moved + frames, BEFORE + l->held - frames);
    size_t kept = l->scanned - frames + window_length(l);
    memmove(l->reduction, l->reduction + frames, kept * sizeof(float));
    memset(l->reduction + kept, 0, frames * sizeof(float));
    l->held -= frames, l->scanned -= frames;
}

/* Takes what the first pass holds through all of them, as far as it is certain, or to its end. Answers how many frames
 * the last one gave out. */
static inline __attribute__((always_inline)) size_t advance(struct limiter *l, int to_the_end, float *out,
                                                            size_t stride) {
    for (;; l = l->next) {
        size_t until = to_the_end ? l->held : l->held > AFTER ? l->held - AFTER : 0;
        if (to_the_end) {
            for (size_t c = 0; c < l->channels; c++)
                memset(l->samples + c * l->capacity + BEFORE + l->held, 0, (AFTER + 2 * LANES) * sizeof(float));
            memset(l->moved + BEFORE + l->held, 0, AFTER + 2 * LANES);
        }
        if (until > l->scanned)
            scan(l, until);
        size_t ready = to_the_end ? l->held : l->scanned > l->ahead ? l->scanned - l->ahead : 0;
        struct limiter *next = l->next;
        if (!next) {
            give(l, ready, out, stride, NULL);
            return ready;
        }
        size_t at = BEFORE + next->held;
        give(l, ready, next->samples + at, next->capacity, next->moved + at);
        next->held += ready;
    }
}

/* Takes `frames` frames of channels that lie `stride` floats apart, each times its gain, and answers how many frames
 * it gave out, (channels, out_stride); at most ahead + AFTER frames are held back by each pass. */
EACH_CPU size_t cc_limit(struct limiter *l, const float *samples, size_t stride, size_t frames, const float *gains,
                         float *out, size_t out_stride) {
    size_t given = 0;
    for (size_t at = 0; at < frames; at += CHUNK) {
        size_t n = frames - at < CHUNK ? frames - at : CHUNK;
        for (size_t c = 0; c < l->channels; c++) {
            const float *from = samples + c * stride + at;
            float *to = l->samples + c * l->capacity + BEFORE + l->held, gain = gains[c];
            for (size_t i = 0; i < n; i++)
                to[i] = from[i] * gain;
        }
        l->held += n;
        given += advance(l, 0, out + given, out_stride);
    }
    return given;
}

/* Gives out what was held back, (channels, out_stride); answers how many frames. */
EACH_CPU size_t cc_limit_rest(struct limiter *l, float *out, size_t out_stride) {
    return advance(l, 1, out, out_stride);
}
