/* The minimum mean-square error estimator of the log-spectral amplitude (Ephraim and Malah 1985) on noise found by the
 * probability of speech (Gerkmann and Hendriks 2012). One state is one channel; the equations stand in dsp/logmmse.py. */
#include "spectral.h"

#include <math.h>

typedef struct {
    float noise_keep;      /* what the noise keeps from frame to frame */
    float presence_keep;   /* the same of the smoothed probability of speech */
    float presence_most;   /* where that is higher, the probability is held down to it: no deadlock */
    float presence_prior;  /* a priori SNR of speech, where there is any */
    float prior_keep;      /* alpha: decision-directed weight of the frame before */
    float prior_least;     /* lowest a priori SNR, power */
    floor_state floor;
} settings;

enum { ROWS = 3 };

typedef struct {
    stft *s;
    settings set;
    int known; /* a frame has been learnt from */
    float *rows;
    float *noise, *presence, *before;
} logmmse;

void cc_logmmse_free(logmmse *m)
{
    if (!m)
        return;
    cc_stft_free(m->s);
    cc_rows_free(m->rows);
    free(m);
}

static void forget_before(logmmse *m)
{
    for (int k = 0; k < m->s->stride; k++)
        m->before[k] = 1.0f;
}

logmmse *cc_logmmse_new(int size, const float *window, const float *twiddles, const float *unpack,
                        const settings *set)
{
    logmmse *m = calloc(1, sizeof *m);
    if (!m)
        return NULL;
    m->set = *set;
    m->s = cc_stft_new(size, window, twiddles, unpack);
    m->rows = m->s ? cc_rows_new(ROWS, m->s->stride) : NULL;
    if (!m->rows) {
        cc_logmmse_free(m);
        return NULL;
    }
    m->noise = m->rows;
    m->presence = m->noise + m->s->stride;
    m->before = m->presence + m->s->stride;
    forget_before(m);
    return m;
}

/* Gerkmann and Hendriks 2012, equations 18 and 22 to 25: the noise, with this frame in it. */
static EACH_CPU void learn(logmmse *m, const float *restrict power)
{
    const settings set = m->set;
    const int stride = m->s->stride;
    const float odds = 1.0f + set.presence_prior, wiener = set.presence_prior / odds;
    float *restrict noise = m->noise, *restrict presence = m->presence;
    for (int k = 0; k < stride; k++) {
        const float found = 1.0f / (1.0f + odds * exp_of(-wiener * (power[k] / noise[k])));
        presence[k] = set.presence_keep * presence[k] + (1.0f - set.presence_keep) * found;
        const float p = presence[k] > set.presence_most ? least(found, set.presence_most) : found;
        noise[k] += (1.0f - set.noise_keep) * (1.0f - p) * (power[k] - noise[k]) + TINY;
    }
}

/* Ephraim and Malah 1984, equation 51 (a priori SNR); 1985, equation 20 (gain). */
static EACH_CPU void gains(logmmse *m, const float *restrict power, float *restrict gain, float floor)
{
    const settings set = m->set;
    const int stride = m->s->stride;
    const float *restrict noise = m->noise;
    float *restrict before = m->before;
    for (int k = 0; k < stride; k++) {
        const float gamma = power[k] / noise[k];
        const float prior = most(set.prior_keep * before[k] + (1.0f - set.prior_keep) * most(gamma - 1.0f, 0.0f),
                                 set.prior_least);
        const float wiener = prior / (1.0f + prior), v = most(gamma * wiener, 1e-10f);
        const float square = wiener * wiener / least(v, 1.0f) * exp_of(e1_rest_of(v, exp_of(-v)));
        before[k] = square * gamma;
        gain[k] = least(most(sqrtf(square), floor), 1.0f);
    }
}

static void one_frame(void *state, const float *samples, const float *power, float *gain)
{
    logmmse *m = state;
    const unsigned silent = cc_stft_silent(m->s, samples);
    const int stride = m->s->stride;
    if (!silent && !m->known) {
        for (int k = 0; k < stride; k++)
            m->noise[k] = power[k] + TINY;
        m->known = 1;
    }
    if (silent == ALL_SILENT || !m->known) {
        if (m->known)
            cc_floor_empty(&m->set.floor);
        for (int k = 0; k < stride; k++)
            gain[k] = 1.0f;
        return;
    }
    /* A frame that is in part digital silence says nothing of the line's noise. */
    if (!silent)
        learn(m, power);
    gains(m, power, gain, exp_of(cc_floor_of(&m->set.floor, power, m->noise, stride, !silent)));
}

/* Learns the noise of frames that will be cleaned later. */
void cc_logmmse_prime(logmmse *m, const float *samples, int frames)
{
    cc_stft_run(m->s, samples, NULL, frames, one_frame, m);
    cc_floor_again(&m->set.floor);
    forget_before(m);
}

void cc_logmmse_run(logmmse *m, const float *samples, float *cleaned, int frames)
{
    cc_stft_run(m->s, samples, cleaned, frames, one_frame, m);
}
