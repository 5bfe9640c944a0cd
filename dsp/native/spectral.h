/* Short-time spectra of a stream, eight frames side by side in the lanes of a vector, and the functions that gains on
 * them need. Every operation is on one element alone, so lanes, blocks and processors change no bit of a result. */
#ifndef CLEARCALL_SPECTRAL_H
#define CLEARCALL_SPECTRAL_H

#include "native.h"

enum { LANES = 8, BIN_STEP = 16, ALL_SILENT = 15 };

typedef float lanes __attribute__((vector_size(LANES * sizeof(float))));
typedef int32_t lane_masks __attribute__((vector_size(LANES * sizeof(float))));

typedef struct {
    int size;                /* samples of a frame: 2^a or 3 * 2^a, a multiple of 2 * BIN_STEP */
    int half;                /* size / 2: the complex transform's length, and the bins but one */
    int hop;                 /* samples from frame to frame: the half */
    int stride;              /* floats from one frame's bins to the next's: half + 1, rounded up to BIN_STEP */
    float *window;           /* shape (size,): analysis and synthesis, squares of all overlaps add up to 1 */
    float *twiddles;         /* of all passes, in their order */
    float *unpack;           /* shape (half, 2): exp(-2 pi i k / size) */
    lanes *work[4];          /* two complex buffers, shape (half + 1,) each */
    lanes *re, *im;          /* the spectra of the frames: two of work */
    float *power, *gain;     /* shape (LANES, stride) */
    float *frames;           /* shape (LANES, size): after the synthesis window */
    float *overlap;          /* shape (hop,): the rest of the frame before */
} stft;

/* What makes the gains of the next frame: `samples` (size,), `power` and `gain` (stride,). */
typedef void frame_gain(void *state, const float *samples, const float *power, float *gain);

stft *cc_stft_new(int size, const float *window, const float *twiddles, const float *unpack);
void cc_stft_free(stft *s);

/* Frames begin a hop apart at `samples`. frames * hop samples are written to `cleaned`, size - hop samples late; where
 * it is NULL, the gains are made and not applied. */
void cc_stft_run(stft *s, const float *samples, float *cleaned, int frames, frame_gain *gains, void *state);

/* The quarters of a frame that are digital silence: the lowest bit is the first. */
unsigned cc_stft_silent(const stft *s, const float *frame);

/* Arrays of `stride` floats each, zeroed; the bin before the first may be read, and is 0. */
float *cc_rows_new(int rows, int stride);
void cc_rows_free(float *rows);

/* The sum of an array whose length is a multiple of BIN_STEP, in one order on every processor. */
float cc_sum(const float *values, int count);

/* Powers are held above this, so that quotients of them are finite: -160 dB of a full-scale sample. */
#define TINY 1e-16f

/* How deep gains may go. Powers are sums over the bins of a frame; all counts are of frames. */
typedef struct {
    float deepest_ln;   /* ln of the lowest floor */
    float enough_ln;    /* ln of the power ratio of speech to residual noise that is enough */
    float onset;        /* a frame with so many times the noise's power is speech */
    float memory;       /* frames of speech that its level is the mean of; of pauses, twice as many are remembered */
    float longest;      /* a longer digital silence is a party that is muted, no pause between words */
    float speech, seen; /* the level, and the number of frames that it stands for yet */
    float quiet, empty; /* remembered frames of pauses: with the line's noise, and digital silence */
    float run;          /* of the digital silence under way */
} floor_state;

/* Takes note of a frame of digital silence. */
void cc_floor_empty(floor_state *f);

/* Begins the stream anew with what has been learnt of it. */
static inline void cc_floor_again(floor_state *f) { f->run = f->longest; }

/* The floor, as ln of a gain, for a frame of sound; `learn` is 0 where the frame must not be learnt from. */
float cc_floor_of(floor_state *f, const float *power, const float *noise, int count, int learn);

static inline __attribute__((always_inline)) float least(float a, float b) { return a < b ? a : b; }
static inline __attribute__((always_inline)) float most(float a, float b) { return a > b ? a : b; }

/* exp(x), relative error below 2e-7; x is held within +-87. */
static inline __attribute__((always_inline)) float exp_of(float x)
{
    x = least(most(x, -87.0f), 87.0f);
    const float shifted = x * 1.44269504f + 12582912.0f; /* rounds to a whole number in the low bits */
    int32_t whole;
    memcpy(&whole, &shifted, sizeof whole);
    const float n = shifted - 12582912.0f;
    const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    const float tail = 5.0000001201e-1f + r * (1.6666665459e-1f + r * (4.1665795894e-2f
        + r * (8.3334519073e-3f + r * (1.3981999507e-3f + r * 1.9875691500e-4f))));
    const float mantissa = 1.0f + r + r * r * tail;
    int32_t bits;
    memcpy(&bits, &mantissa, sizeof bits);
    bits += (int32_t)((uint32_t)whole << 23);
    float result;
    memcpy(&result, &bits, sizeof result);
    return result;
}

/* The natural logarithm of a normal x > 0, absolute error below 2e-7 + 1e-7 |ln x|. */
static inline __attribute__((always_inline)) float ln_of(float x)
{
    int32_t bits;
    memcpy(&bits, &x, sizeof bits);
    const int32_t exponent = (bits - 0x3f3504f3) >> 23; /* the mantissa goes from sqrt(1/2) to sqrt(2) */
    bits -= (int32_t)((uint32_t)exponent << 23);
    float mantissa;
    memcpy(&mantissa, &bits, sizeof mantissa);
    const float t = (mantissa - 1.0f) / (mantissa + 1.0f), t2 = t * t;
    const float series = t2 * (0.666666667f + t2 * (0.4f + t2 * (0.285714286f + t2 * 0.222222222f)));
    return (float)exponent * 0.693147181f + (t + t + t * series);
}

/* E1(v) + ln(min(v, 1)), where E1 is the exponential integral, given exp(-v): absolute error below 4e-5 for v >= 0.
 * Abramowitz and Stegun, Handbook of Mathematical Functions, 5.1.53 and 5.1.54. */
static inline __attribute__((always_inline)) float e1_rest_of(float v, float exp_minus_v)
{
    const float u = least(v, 1.0f);
    const float near = -0.57721566f + u * (0.99999193f + u * (-0.24991055f + u * (0.05519968f
        + u * (-0.00976004f + u * 0.00107857f))));
    const float far = exp_minus_v * (v * (v + 2.334733f) + 0.250621f) / (v * (v * (v + 3.330657f) + 1.681534f));
    return v < 1.0f ? near : far;
}

#endif
