#include "native.h"

/* Second-order sections one after the other, transposed direct form II, in double precision.
 *
 * sections: b0 b1 b2 a1 a2 of each, a0 = 1. state: two of each. A sample goes through all sections before the next one
 * does: the processor then works on several sections at once. */

#define TINY 1e-30

/* What decays for good would end in denormal numbers, which are slow, and some never reach zero. */
static void forget(double *state, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (state[i] > -TINY && state[i] < TINY)
            state[i] = 0.0;
}

void cc_biquads(double *state, const double *sections, size_t count, uint64_t *at, const float *in, float *out,
                size_t frames)
{
    for (size_t n = 0; n < frames; n++) {
        double x = in[n];
        for (size_t k = 0; k < count; k++) {
            const double *c = sections + 5 * k;
            double *s = state + 2 * k;
            double y = c[0] * x + s[0];
            s[0] = c[1] * x - c[3] * y + s[1];
            s[1] = c[2] * x - c[4] * y;
            x = y;
        }
        out[n] = (float)x;
        /* By the recording's clock, so that the cut into blocks changes nothing. */
        if ((++*at & 255) == 0)
            forget(state, 2 * count);
    }
}
