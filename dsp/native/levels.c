/* What the level meter needs of every sample of a channel, in one pass: see dsp/levels.py for what becomes of it.
 *
 * All works on frames of 20 ms from sample 0, so that it does not matter how the stream is cut. */
#include "native.h"

enum { CHUNK = 16, THRESHOLDS = 15, MOST_GAPS = 1 << 18 };

typedef float f8 __attribute__((vector_size(32), aligned(4)));
typedef float f4 __attribute__((vector_size(16), aligned(4)));
typedef double d4 __attribute__((vector_size(32)));
typedef int32_t i8x __attribute__((vector_size(32)));

struct totals {
    double counted;                /* samples outside the pauses */
    double sum;
    double squares;
    double peak;                   /* greatest magnitude */
    double clipped;                /* samples at that magnitude, two or more in a row */
    double clipping_runs;
    double active[THRESHOLDS];     /* samples active at 2^-15, 2^-14, ... 2^-1, hangover included */
};

struct gap {
    int64_t begin, end;            /* samples from the beginning of the stream */
    double edge;                   /* the lesser mean square of what lies just before and just after */
};

struct levels {
    int64_t position;              /* of the next frame's first sample */
    int frame, filled;             /* samples in a frame; of the next one, those that are here */
    int64_t pauses, next_pause;
    int64_t *paused;               /* begin and end of each, in order, not touching */
    struct totals totals;
    double near_full_scale;        /* a lower peak is no clipping */
    float at_peak;                 /* the sample before where it lay at the peak, else 0 */
    int64_t clipping_run;
    double g, g_chunk, p_into_q, p, q;
    f8 into_p[2], into_q[2];
    int64_t hangover, held[THRESHOLDS], run;
    int reached;                   /* thresholds that the envelope reaches, since `run` samples */
    int shortest_gap, heard;       /* heard: the samples of the frame before may be looked at */
    int64_t gap;                   /* zeros so far, where that makes a gap */
    double before, after;          /* energy just before the gap, and just after */
    int after_left;                /* samples that `after` waits for */
    int64_t gap_begin, gap_end;
    struct gap *gaps;
    int64_t gaps_found, gaps_room;
    float *samples;                /* the frame before and this one */
};

static double power_of(double base, int exponent) {
    double power = 1.0;
    while (exponent-- > 0) power *= base;
    return power;
}

/* decay: of one average, a sample. pauses: begin and end of each in samples. */
struct levels *cc_levels_new(int frame, int shortest_gap, double decay, int64_t hangover, double near_full_scale,
                             const int64_t *paused, int64_t pauses) {
    struct levels *s = aligned_alloc(64, (sizeof *s + 63) / 64 * 64);
    if (!s) return NULL;
    memset(s, 0, sizeof *s);
    s->samples = calloc(2 * (size_t)frame, sizeof *s->samples);
    s->paused = malloc(2 * (size_t)pauses * sizeof *s->paused + 1);
    if (!s->samples || !s->paused) {
        free(s->samples);
        free(s->paused);
        free(s);
        return NULL;
    }
    memcpy(s->paused, paused, 2 * (size_t)pauses * sizeof *s->paused);
    s->pauses = pauses;
    s->frame = frame;
    s->shortest_gap = shortest_gap;
    s->near_full_scale = near_full_scale;
    s->hangover = hangover;
    for (int j = 0; j < THRESHOLDS; j++) s->held[j] = hangover;
    s->g = decay;
    s->g_chunk = power_of(decay, CHUNK);
    s->p_into_q = CHUNK * (1.0 - decay) * s->g_chunk;
    for (int i = 0; i < CHUNK; i++) {
        double weight = (1.0 - decay) * power_of(decay, CHUNK - 1 - i);
        s->into_p[i / 8][i % 8] = (float)weight;
        s->into_q[i / 8][i % 8] = (float)(weight * (1.0 - decay) * (CHUNK - i));
    }
    return s;
}

void cc_levels_free(struct levels *s) {
    free(s->gaps);
    free(s->samples);
    free(s->paused);
    free(s);
}

/* How many of the thresholds 2^-15 ... 2^-1 a value reaches: they are powers of two, so its exponent says it. */
static inline int reaches(double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    int64_t reached = (int64_t)(bits >> 52) - 1023 + THRESHOLDS + 1;
    return reached < 0 ? 0 : reached > THRESHOLDS ? THRESHOLDS : (int)reached;
}

/* Count the samples since the envelope last passed a threshold, as P.56 does it one by one. */
static void settle(struct levels *s) {
    for (int j = 0; j < THRESHOLDS; j++) {
        int64_t active = s->run;
        if (j < s->reached) {
            s->held[j] = 0;
        } else {
            int64_t left = s->hangover - s->held[j];
            if (active > left) active = left;
            s->held[j] += active;
        }
        s->totals.active[j] += (double)active;
    }
    s->run = 0;
}

static inline void envelope_at(struct levels *s, int reached, int samples) {
    if (reached != s->reached) {
        settle(s);
        s->reached = reached;
    }
    s->run += samples;
}

static void envelope_by_sample(struct levels *s, const float *x, int n, double p, double q) {
    for (int i = 0; i < n; i++) {
        double magnitude = x[i] < 0 ? -(double)x[i] : (double)x[i];
        p = s->g * p + (1.0 - s->g) * magnitude;
        q = s->g * q + (1.0 - s->g) * p;
        envelope_at(s, reaches(q), 1);
    }
    s->p = p < 1e-30 ? 0.0 : p; /* no denormal numbers: they are slow */
    s->q = q < 1e-30 ? 0.0 : q;
}

/* Over a chunk the envelope cannot have been lower than its beginning decayed, nor higher than its end decayed
 * backwards, because its input is not negative. Only where a threshold lies between is it computed a sample at a
 * time. `p` and `q` are what the chunk alone leaves in the two averages. */
static inline void envelope_by_chunk(struct levels *s, const float *x, double p, double q) {
    double p_end = s->g_chunk * s->p + p, q_end = s->g_chunk * s->q + s->p_into_q * s->p + q;
    int least = reaches(s->q * s->g_chunk * (1.0 - 1e-5)), most = reaches(q_end / s->g_chunk * (1.0 + 1e-5));
    if (least != most) {
        envelope_by_sample(s, x, CHUNK, s->p, s->q);
        return;
    }
    envelope_at(s, least, CHUNK);
    s->p = p_end < 1e-30 ? 0.0 : p_end;
    s->q = q_end < 1e-30 ? 0.0 : q_end;
}

/* Samples at the greatest magnitude so far, in runs of two or more of one sign. */
static void clipping(struct levels *s, const float *x, int n) {
    for (int i = 0; i < n; i++) {
        double magnitude = x[i] < 0 ? -(double)x[i] : (double)x[i];
        if (magnitude > s->totals.peak) {
            s->totals.peak = magnitude;
            s->totals.clipped = s->totals.clipping_runs = 0;
            s->at_peak = 0;
        }
        if (magnitude < s->totals.peak) {
            s->at_peak = 0;
            continue;
        }
        s->clipping_run = s->at_peak == x[i] ? s->clipping_run + 1 : 1;
        s->at_peak = x[i];
        if (s->clipping_run == 2) s->totals.clipping_runs += 1;
        if (s->clipping_run >= 2) s->totals.clipped += s->clipping_run == 2 ? 2 : 1;
    }
}

/* Take samples of one frame that count and follow one another. Adds to `sum` and `squares`; says whether a whole
 * chunk of them is zero. */
EACH_CPU
static int take(struct levels *s, const float *x, int n, double *sum, double *squares) {
    d4 sums = {0}, squared = {0};
    i8x greatest = {0};
    const i8x no_sign = ~(i8x){0} & 0x7fffffff;
    int zeros = 0, i = 0;
    for (; i + CHUNK <= n; i += CHUNK) {
        for (int k = 0; k < CHUNK; k += 4) {
            d4 wide = __builtin_convertvector(*(const f4 *)(x + i + k), d4);
            sums += wide;
            squared += wide * wide;
        }
        i8x left = (i8x)*(const f8 *)(x + i) & no_sign, right = (i8x)*(const f8 *)(x + i + 8) & no_sign;
        /* Without their signs floating point numbers are in the order of their bits. */
        greatest = (greatest & (greatest > left)) | (left & ~(greatest > left));
        greatest = (greatest & (greatest > right)) | (right & ~(greatest > right));
        f8 first = (f8)left, second = (f8)right;
        f8 p8 = first * s->into_p[0] + second * s->into_p[1], q8 = first * s->into_q[0] + second * s->into_q[1];
        f8 pairs = __builtin_shufflevector(p8, q8, 0, 1, 2, 3, 8, 9, 10, 11) +
                   __builtin_shufflevector(p8, q8, 4, 5, 6, 7, 12, 13, 14, 15);
        float p = (pairs[0] + pairs[1]) + (pairs[2] + pairs[3]), q = (pairs[4] + pairs[5]) + (pairs[6] + pairs[7]);
        zeros |= p == 0;
        envelope_by_chunk(s, x + i, p, q);
    }
    double total = (sums[0] + sums[1]) + (sums[2] + sums[3]);
    double energy = (squared[0] + squared[1]) + (squared[2] + squared[3]);
    double peak = 0, rest = 0;
    for (int k = 0; k < 8; k++)
        if (((f8)greatest)[k] > peak) peak = ((f8)greatest)[k];
    for (int k = i; k < n; k++) {
        double wide = x[k], magnitude = wide < 0 ? -wide : wide;
        total += wide;
        energy += wide * wide;
        rest += magnitude;
        if (magnitude > peak) peak = magnitude;
    }
    if (i < n) {
        zeros |= rest == 0;
        envelope_by_sample(s, x + i, n - i, s->p, s->q);
    }
    *sum += total;
    *squares += energy;
    s->totals.counted += n;
    if (peak >= s->totals.peak && peak >= s->near_full_scale) {
        clipping(s, x, n);
    } else {
        s->at_peak = 0;
        if (peak > s->totals.peak) s->totals.peak = peak;
    }
    return zeros;
}

static double energy_of(const float *x, int n) {
    double energy = 0;
    for (int i = 0; i < n; i++) energy += (double)x[i] * x[i];
    return energy;
}

static void keep_gap(struct levels *s) {
    double edge = (s->before < s->after ? s->before : s->after) / s->shortest_gap;
    if (edge <= 0 || s->gaps_found == MOST_GAPS) return;
    if (s->gaps_found == s->gaps_room) {
        int64_t room = s->gaps_room ? 2 * s->gaps_room : 64;
        struct gap *gaps = realloc(s->gaps, (size_t)room * sizeof *gaps);
        if (!gaps) return;
        s->gaps = gaps;
        s->gaps_room = room;
    }
    s->gaps[s->gaps_found++] = (struct gap){s->gap_begin, s->gap_end, edge};
}

/* Find the runs of zeros in this frame that are long enough, and how loud it is at their edges. */
static void find_gaps(struct levels *s) {
    const float *x = s->samples;
    int64_t run = s->gap;
    if (!run)
        for (int i = s->frame - 1; i >= s->frame - s->heard && x[i] == 0; i--) run++;
    for (int i = s->frame; i < 2 * s->frame; i++) {
        if (x[i] == 0) {
            if (++run == s->shortest_gap) {
                s->before = energy_of(x + i + 1 - 2 * s->shortest_gap, s->shortest_gap);
                s->gap_begin = s->position + i - s->frame + 1 - run;
            }
        } else {
            if (run >= s->shortest_gap) {
                s->gap_end = s->position + i - s->frame;
                s->after_left = s->shortest_gap;
                s->after = 0;
            }
            run = 0;
        }
        if (s->after_left) {
            s->after += (double)x[i] * x[i];
            if (!--s->after_left) keep_gap(s);
        }
    }
    s->gap = run >= s->shortest_gap ? run : 0;
}

/* Take the first n samples of a frame in pieces between its pauses. Returns whether a pause lies in it. */
static int take_between_pauses(struct levels *s, int n, double *sum, double *squares, int *zeros) {
    int64_t from = s->position, end = s->position + n;
    int paused = 0;
    while (from < end) {
        while (s->next_pause < s->pauses && s->paused[2 * s->next_pause + 1] <= from) s->next_pause++;
        int64_t pause = end, after = end;
        if (s->next_pause < s->pauses && s->paused[2 * s->next_pause] < end) {
            pause = s->paused[2 * s->next_pause];
            after = s->paused[2 * s->next_pause + 1];
            paused = 1;
        }
        if (pause > from)
            *zeros |= take(s, s->samples + s->frame + (from - s->position), (int)(pause - from), sum, squares);
        if (pause < end) s->at_peak = 0;
        from = after;
    }
    return paused;
}

/* Take the next n samples, count of them whole frames; gives their number and the variance of each. */
int64_t cc_levels_push(struct levels *s, const float *x, int64_t n, float *power) {
    int64_t frames = 0;
    while (n > 0) {
        int64_t part = s->frame - s->filled;
        if (part > n) part = n;
        memcpy(s->samples + s->frame + s->filled, x, (size_t)part * sizeof *x);
        s->filled += (int)part;
        x += part;
        n -= part;
        if (s->filled < s->frame) break;
        double sum = 0, squares = 0;
        int zeros = 0, paused = take_between_pauses(s, s->frame, &sum, &squares, &zeros);
        s->totals.sum += sum;
        s->totals.squares += squares;
        if (paused) {
            power[frames++] = 0;
            s->gap = s->after_left = s->heard = 0;
            memset(s->samples, 0, (size_t)s->frame * sizeof *s->samples);
        } else {
            double mean = sum / s->frame, variance = squares / s->frame - mean * mean;
            power[frames++] = variance > 3e38 ? 3e38f : variance > 0 ? (float)variance : 0;
            /* In nothing but zeros an open gap stays open. */
            if ((zeros || s->gap || s->after_left) && !(s->gap && squares == 0)) find_gaps(s);
            s->heard = s->frame;
            memcpy(s->samples, s->samples + s->frame, (size_t)s->frame * sizeof *s->samples);
        }
        s->position += s->frame;
        s->filled = 0;
    }
    return frames;
}

/* End the stream: what is less than a frame counts in the totals. */
void cc_levels_finish(struct levels *s, struct totals *totals) {
    double sum = 0, squares = 0;
    int zeros = 0;
    take_between_pauses(s, s->filled, &sum, &squares, &zeros);
    s->totals.sum += sum;
    s->totals.squares += squares;
    settle(s);
    *totals = s->totals;
}

int64_t cc_levels_gaps(const struct levels *s, struct gap *gaps) {
    if (gaps && s->gaps) memcpy(gaps, s->gaps, (size_t)s->gaps_found * sizeof *gaps);
    return s->gaps_found;
}
