/* The optimally modified log-spectral amplitude estimator (Cohen and Berdugo 2001, Cohen 2002) on noise found by improved
 * minima controlled recursive averaging (Cohen 2003). One state is one channel; the equations stand in dsp/omlsa.py. */
#include "spectral.h"

typedef struct {
    float smooth;          /* alpha_s: what S keeps from frame to frame */
    float bias_min;        /* B_min: the mean over its minimum */
    float gamma0, gamma1;  /* a posteriori SNR where speech is certain: first pass; second pass */
    float zeta0;           /* the same for the smoothed power over its minimum */
    float noise_keep;      /* alpha_d: what the noise keeps where there is no speech */
    float bias_noise;      /* beta: makes up for speech that is taken for granted in noise */
    float prior_keep;      /* alpha: decision-directed weight of the frame before */
    float prior_least;     /* lowest a priori SNR, power */
    float stretch;         /* V: frames of a stretch; the minimum is that of STRETCHES and the one under way */
    floor_state floor;
} settings;

enum { STRETCHES = 8, ROWS = 10 + 2 * STRETCHES };

typedef struct {
    stft *s;
    settings set;
    int known;             /* a frame has been learnt from */
    int frame, slot;       /* in the stretch; of the stretches, the oldest */
    float *rows;
    float *flag, *smooth, *minimum, *lowest, *rough, *rough_minimum, *rough_lowest, *mean, *noise, *before;
    float *stretches, *rough_stretches; /* shape (STRETCHES, stride) */
} omlsa;

void cc_omlsa_free(omlsa *o)
{
    if (!o)
        return;
    cc_stft_free(o->s);
    cc_rows_free(o->rows);
    free(o);
}

omlsa *cc_omlsa_new(int size, const float *window, const float *twiddles, const float *unpack,
                    const settings *set)
{
    omlsa *o = calloc(1, sizeof *o);
    if (!o)
        return NULL;
    o->set = *set;
    o->s = cc_stft_new(size, window, twiddles, unpack);
    o->rows = o->s ? cc_rows_new(ROWS, o->s->stride) : NULL;
    if (!o->rows) {
        cc_omlsa_free(o);
        return NULL;
    }
    float **row[] = {&o->flag, &o->smooth, &o->minimum, &o->lowest, &o->rough, &o->rough_minimum,
                     &o->rough_lowest, &o->mean, &o->noise, &o->before, &o->stretches};
    for (int i = 0; i < 11; i++)
        *row[i] = o->rows + i * o->s->stride;
    o->rough_stretches = o->stretches + STRETCHES * o->s->stride;
    for (int k = 0; k < o->s->stride; k++)
        o->before[k] = 1.0f;
    return o;
}

static void begin(omlsa *o, const float *power)
{
    const int stride = o->s->stride;
    for (int k = 0; k < stride; k++) {
        const float p = power[k] + TINY;
        o->smooth[k] = o->minimum[k] = o->lowest[k] = o->rough[k] = o->rough_minimum[k] = o->rough_lowest[k] = p;
        o->mean[k] = o->noise[k] = p;
        for (int i = 0; i < STRETCHES; i++)
            o->stretches[i * stride + k] = o->rough_stretches[i * stride + k] = p;
    }
    o->known = 1;
}

/* Cohen 2003, equations 14 to 16: smoothed over three bins and over time, and the minimum of that. */
static EACH_CPU void smooth_power(omlsa *o, const float *restrict power)
{
    const int half = o->s->half, stride = o->s->stride;
    const float keep = o->set.smooth;
    float *restrict sf = o->flag, *restrict smooth = o->smooth, *restrict minimum = o->minimum, *restrict lowest = o->lowest;
    sf[0] = 0.5f * (power[0] + power[1]);
    for (int k = 1; k < half; k++)
        sf[k] = 0.25f * (power[k - 1] + power[k + 1]) + 0.5f * power[k];
    sf[half] = 0.5f * (power[half] + power[half - 1]);
    for (int k = 0; k < stride; k++) {
        smooth[k] = keep * smooth[k] + (1.0f - keep) * sf[k] + TINY;
        minimum[k] = least(minimum[k], smooth[k]);
        lowest[k] = least(lowest[k], smooth[k]);
    }
}

/* Equations 21 to 27: the same again without the bins in which speech is likely. */
static EACH_CPU void smooth_noise(omlsa *o, const float *restrict power)
{
    const int half = o->s->half, stride = o->s->stride;
    const float keep = o->set.smooth, bias = o->set.bias_min, gamma0 = o->set.gamma0, zeta0 = o->set.zeta0;
    float *restrict flag = o->flag; /* what smooth_power left there is used up */
    float *restrict rough = o->rough, *restrict minimum = o->rough_minimum, *restrict lowest = o->rough_lowest;
    const float *restrict smooth = o->smooth, *restrict first = o->minimum;
    for (int k = 0; k < stride; k++) {
        const float line = bias * first[k];
        flag[k] = ((power[k] < gamma0 * line) & (smooth[k] < zeta0 * line)) ? 1.0f : 0.0f;
    }
    flag[-1] = flag[half + 1] = 0.0f;
    for (int k = 0; k <= half; k++) {
        const float left = 0.25f * flag[k - 1], here = 0.5f * flag[k], right = 0.25f * flag[k + 1];
        const float weight = left + here + right;
        const float found = left * power[k - 1] + here * power[k] + right * power[k + 1];
        const float mean = weight > 0.0f ? found / most(weight, 0.25f) : rough[k];
        rough[k] = keep * rough[k] + (1.0f - keep) * mean + TINY;
        minimum[k] = least(minimum[k], rough[k]);
        lowest[k] = least(lowest[k], rough[k]);
    }
}

/* Equations 28, 29, 7 and 12, then the gain (Cohen 2002, equations 6, 15 and 16) with the noise before this frame. */
static EACH_CPU void gains(omlsa *o, const float *restrict power, float *restrict gain, float floor_ln, float learn)
{
    const int stride = o->s->stride;
    const settings set = o->set;
    const float ramp = 1.0f / (set.gamma1 - 1.0f), floor = exp_of(floor_ln);
    float *restrict mean = o->mean, *restrict noise = o->noise, *restrict before = o->before;
    const float *restrict smooth = o->smooth, *restrict minimum = o->rough_minimum;
    for (int k = 0; k < stride; k++) {
        const float line = set.bias_min * most(minimum[k], TINY);
        const float absent = least(most((set.gamma1 - power[k] / line) * ramp, 0.0f), 1.0f);
        const float q = smooth[k] < set.zeta0 * line ? absent : 0.0f;
        const float gamma = power[k] / noise[k];
        const float prior = most(set.prior_keep * before[k] + (1.0f - set.prior_keep) * most(gamma - 1.0f, 0.0f),
                                 set.prior_least);
        const float wiener = prior / (1.0f + prior), v = most(gamma * wiener, 1e-10f), e = exp_of(-v);
        const float p = (1.0f - q) / ((1.0f - q) + q * (1.0f + prior) * e);
        /* Twice the logarithm of G_H1, which is wiener * exp(E1(v) / 2). */
        const float ln_square = ln_of(wiener * wiener / least(v, 1.0f)) + e1_rest_of(v, e);
        gain[k] = least(most(exp_of(0.5f * p * ln_square + (1.0f - p) * floor_ln), floor), 1.0f);
        before[k] = exp_of(ln_square) * gamma;
        const float rate = learn * (1.0f - set.noise_keep) * (1.0f - p);
        mean[k] += rate * (power[k] - mean[k]);
        noise[k] = set.bias_noise * mean[k] + TINY;
    }
}

/* Each STRETCHES * stretch frames are forgotten a stretch at a time. */
static EACH_CPU void turn(omlsa *o)
{
    const int stride = o->s->stride;
    if (++o->frame < (int)o->set.stretch)
        return;
    o->frame = 0;
    memcpy(o->stretches + o->slot * stride, o->lowest, (size_t)stride * sizeof(float));
    memcpy(o->rough_stretches + o->slot * stride, o->rough_lowest, (size_t)stride * sizeof(float));
    o->slot = (o->slot + 1) % STRETCHES;
    for (int k = 0; k < stride; k++) {
        float low = o->stretches[k], rough = o->rough_stretches[k];
        for (int i = 1; i < STRETCHES; i++) {
            low = least(low, o->stretches[i * stride + k]);
            rough = least(rough, o->rough_stretches[i * stride + k]);
        }
        o->minimum[k] = low;
        o->rough_minimum[k] = rough;
        o->lowest[k] = o->smooth[k];
        o->rough_lowest[k] = o->rough[k];
    }
}

static void one_frame(void *state, const float *samples, const float *power, float *gain)
{
    omlsa *o = state;
    const unsigned silent = cc_stft_silent(o->s, samples);
    const int stride = o->s->stride;
    if (!silent && !o->known)
        begin(o, power);
    if (silent == ALL_SILENT || !o->known) {
        if (o->known)
            cc_floor_empty(&o->set.floor);
        for (int k = 0; k < stride; k++)
            gain[k] = 1.0f;
        return;
    }
    /* A frame that is in part digital silence says nothing of the line's noise. */
    if (!silent) {
        smooth_power(o, power);
        smooth_noise(o, power);
    }
    gains(o, power, gain, cc_floor_of(&o->set.floor, power, o->noise, stride, !silent), silent ? 0.0f : 1.0f);
    if (!silent)
        turn(o);
}

/* Learns the noise of frames that will be cleaned later. */
void cc_omlsa_prime(omlsa *o, const float *samples, int frames)
{
    cc_stft_run(o->s, samples, NULL, frames, one_frame, o);
    cc_floor_again(&o->set.floor);
    for (int k = 0; k < o->s->stride; k++)
        o->before[k] = 1.0f;
}

void cc_omlsa_run(omlsa *o, const float *samples, float *cleaned, int frames)
{
    cc_stft_run(o->s, samples, cleaned, frames, one_frame, o);
}
