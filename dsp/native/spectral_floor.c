/* How deep the gains of a spectral denoiser may go: by the SNR, as it is measured while the stream goes by. */
#include "spectral.h"

float cc_sum(const float *values, int count)
{
    lanes low = {0}, high = {0};
    for (int k = 0; k < count; k += BIN_STEP) {
        lanes a, b;
        memcpy(&a, values + k, sizeof a);
        memcpy(&b, values + k + LANES, sizeof b);
        low += a;
        high += b;
    }
    low += high;
    return ((low[0] + low[1]) + (low[2] + low[3])) + ((low[4] + low[5]) + (low[6] + low[7]));
}

static void remember(floor_state *f, float quiet, float empty)
{
    const float keep = 1.0f - 0.5f / f->memory;
    f->quiet = keep * f->quiet + quiet;
    f->empty = keep * f->empty + empty;
}

void cc_floor_empty(floor_state *f)
{
    if (f->run < f->longest)
        remember(f, 0.0f, 1.0f);
    f->run += 1.0f;
}

float cc_floor_of(floor_state *f, const float *power, const float *noise, int count, int learn)
{
    const float frame = cc_sum(power, count), line = most(cc_sum(noise, count), TINY);
    f->run = 0.0f;
    if (learn && frame > f->onset * line) {
        f->seen = least(f->seen + 1.0f, f->memory);
        f->speech += (frame - line - f->speech) / f->seen;
    } else if (learn) {
        remember(f, 1.0f, 0.0f);
    }
    const float snr_ln = ln_of(most(f->speech, TINY) / line);
    const float floor_ln = least(most(0.5f * (snr_ln - f->enough_ln), f->deepest_ln), 0.0f);
    /* Where the pauses are digital silence, what was taken for noise is quiet speech: hands off. */
    const float noisy = f->quiet / most(f->quiet + f->empty, 1.0f);
    return floor_ln * (f->empty > 0.0f ? least(most(5.0f * noisy - 3.0f, 0.0f), 1.0f) : 1.0f);
}
