/* What the parts of the RNNoise denoiser share: sizes, tables that Python makes, weights, and the state of a stream.
 *
 * The algorithm is that of RNNoise 0.2 (J.-M. Valin, "A Hybrid DSP/Deep Learning Approach to Real-Time Full-Band Speech
 * Enhancement", 2018, and the project's 0.2 sources); the arithmetic is arranged anew, see docs/decisions/rnnoise.md. */
#ifndef CLEARCALL_RNNOISE_H
#define CLEARCALL_RNNOISE_H

#include "native.h"

enum {
    RN_FRAMES = 32,       /* frames that one call takes: layer after layer goes over all of them */
    RN_LANES = 8,         /* frames side by side in one vector, in transforms and features */
    RN_BANDS = 32,        /* bands with a gain each */
    RN_FEATURES = 65,     /* inputs of the network: cepstrum, pitch correlation of the bands, pitch period */
    RN_CONV = 128,        /* units of the first layer */
    RN_UNITS = 384,       /* units of every other layer */
    RN_GATES = 3 * RN_UNITS,
    RN_FEATURE_STEPS = 512,  /* of a feature to one; 64 is the greatest */
    RN_UNIT_STEPS = 4096,    /* of an activation to one, where it has 16 bits */
    RN_CHANNELS = 8,      /* at most, in one stream */
    RN_TOGETHER = 4,      /* channels whose frames share one load of the weights */
    RN_HISTORY = 624,     /* samples at 24 kHz that the pitch search looks at beside those of the new frame */
    RN_NEW = 240,         /* samples of a frame at 24 kHz */
    RN_PERIOD_MAX = 768,  /* longest pitch period, in samples at 48 kHz */
    RN_MARGIN = 64,       /* samples of the input kept around what a frame needs: half lengths of interpolators */
};

/* Eight floats: one of each of RN_LANES frames, or eight in a row. The second may lie at any address. */
typedef float rn_vec __attribute__((vector_size(32), may_alias));
typedef float rn_vec_any __attribute__((vector_size(32), aligned(4), may_alias));
typedef int32_t rn_bits __attribute__((vector_size(32), may_alias));

/* The whole is compiled once for each level of processor, from the same bodies: all give the same bits, since the
 * compiler may neither fuse nor reorder, and no sum depends on how wide a vector of the processor is. */
#define RN_PLAIN 0
#define RN_AVX2 1
#define RN_AVX_VNNI 2
#define RN_AVX512 3
#define RN_LEVELS 4

/* A layer with 8-bit weights. Blocks of 64 outputs, in each block four inputs of every output after one another:
 * weights[block][input / 4][output % 64][input % 4]. Inputs are 127 + round(127 x), hence `start`. */
typedef struct {
    const int8_t *weights;
    const int32_t *start; /* -127 * sum of the output's weights */
    const float *scale;
    const float *bias;
} rn_layer;

/* A layer with 16-bit weights: blocks of 32 outputs, in each two inputs of every output after one another. */
typedef struct {
    const int16_t *weights;
    const float *scale; /* of the sums, with the step of the inputs in it */
    const float *bias;
} rn_wide_layer;

typedef struct {
    rn_wide_layer conv1; /* 196 inputs, the last of them nothing; 128 outputs */
    rn_layer conv2;
    rn_layer input[3];
    rn_layer recurrent[3];
    const float *diagonal[3]; /* (3, 384): update, reset, candidate */
    rn_wide_layer gains[4];   /* 384 inputs each, of the layers' outputs; 32 outputs. One scale and bias, the first's */
} rn_model;

/* All that depends on the sample rate; made by dsp/rnnoise_tables.py. */
typedef struct {
    int32_t hop;            /* samples of a frame */
    int32_t bins;           /* of a transform of 2 * hop samples */
    int32_t stages;         /* of the transform */
    int32_t radix[8];
    const float *twiddle;   /* (2 * hop, 2): cosine and -sine of one turn */
    const float *analysis;  /* window, divided by its length */
    const float *synthesis; /* window */
    int32_t edges[RN_BANDS + 2]; /* first bin at 48 kHz of each interval between centres of bands. Those from `bins` on
                                    are images of the ones below, as resampling to 48 kHz leaves them */
    int32_t near;           /* bins that are kept: the band's, and at 8 and 16 kHz some of its images */
    const float *fall;      /* weight of a bin in the band below its interval, and ... */
    const float *rise;      /* ... in the band above */
    const float *blend;     /* share of the upper band's gain in a bin */
    const float *undo;      /* (bins, 2): one over the response of the high-pass */
    double pole[2];         /* high-pass: y = gain (x - 2 x' + x'') - pole[0] y' - pole[1] y'' */
    double gain;
    int32_t phases;         /* of the interpolator to 24 kHz */
    int32_t stride;         /* input samples for `phases` output samples */
    int32_t taps;
    const int32_t *base;    /* first input sample of each phase, from the one at the same time */
    const float *to_24k;    /* (phases, taps) */
    int32_t edge_base;      /* first input sample, from the first of the pitch search's on, and ... */
    int32_t edge_taps;
    const float *edge;      /* ... weights of what its first sample at 24 kHz has from before it */
    int32_t steps;          /* samples at 48 kHz for one of the input */
    const float *turns;     /* (steps, bins at 48 kHz, 2): what a delay of -step samples at 48 kHz does to a bin */
    const float *dct;       /* (32, 32): [output][input] */
} rn_tables;

/* One channel between two calls. */
typedef struct {
    double memory[2];        /* of the high-pass */
    int32_t last_period;     /* of the pitch, samples at 48 kHz */
    float last_gain;         /* how periodic the last frame was, 0 to 1 */
    int32_t count;           /* frames of this call that the network sees */
    uint8_t active[RN_FRAMES]; /* whether it sees this one: silence passes it by */
    int32_t periods[RN_FRAMES]; /* of the pitch, samples at 48 kHz */
    int16_t features[(RN_FRAMES + 2) * RN_FEATURES + 1]; /* of the frames that are not silent, after the two before */
    uint8_t conv1_out[(RN_FRAMES + 2) * RN_CONV];  /* the same */
    float state[3][RN_UNITS];
    float raw_gains[RN_FRAMES][RN_BANDS]; /* what the network says, for those it saw */
    float energy[RN_FRAMES + 1][RN_BANDS]; /* of each frame's bands, after those of the frame before */
    float last_gains[RN_BANDS]; /* below 0.6 of which the next ones do not fall */
    float gains[2][RN_FRAMES + 1][RN_BANDS]; /* as the network gave them, and smoothed: of the call before and the first
                                                of this one; 1 where silent */
    float *filtered;         /* high-passed input: RN_PAST frames of history, then RN_FRAMES new ones */
    float *original;         /* input: what is due with this call's output first */
    float *half_rate;        /* the filtered signal at 24 kHz: history, then RN_FRAMES frames */
    float *spectrum; /* of this call's frames and of those of the call before: (2, 4, near, RN_FRAMES), real and
                        imaginary parts of the signal and of the signal a pitch period ago */
    float *bands;    /* the same: (2, 3, RN_BANDS, RN_FRAMES), energies of the two and how much they match */
    float *overlap;          /* second half of the last frame that was synthesised */
} rn_channel;

typedef struct {
    const rn_model *model;
    const rn_tables *tables;
    int32_t channels;
    float mix;
    int32_t pitch_filter;
    int64_t calls;
    rn_channel channel[RN_CHANNELS];
    float *scratch;
} rn_stream;

#endif
