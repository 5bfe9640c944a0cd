#include "native.h"

/* Follows sinusoids of known frequency and takes them away.
 *
 * Each is a phasor that turns by its own angle a sample. What is left after all of them are subtracted corrects every
 * phasor by a small share (the least-mean-squares rule; J. Glover, IEEE Trans. Acoustics, Speech and Signal Processing
 * 25(6), 1977): a notch at each frequency, step * rate / (2 pi) Hz wide. A step of 0 leaves the phasors as they are and
 * the sound too.
 *
 * Loud hum hides speech from whoever decides by energy. What is left after the subtraction shows it: where that is far
 * above its own floor, and not far below the hum, somebody speaks, and the step is the narrow one. The louder the speech,
 * the narrower: it would teach the phasors nothing, and it masks what they miss. */

typedef double lanes __attribute__((vector_size(32)));
#define LANES 4
#define TINY 1e-30

static void forget(double *phasors, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (phasors[i] > -TINY && phasors[i] < TINY)
            phasors[i] = 0.0;
}

struct gate {
    double floor;  /* mean square of what is left, where it was lowest of late */
    double energy; /* of what is left, since the last whole frame */
    double last;   /* mean square of what was left in the last whole frame */
    double share;  /* of the narrow step that is taken after such a frame */
};

#define ABOVE_FLOOR 8.0   /* 9 dB */
#define FLOOR_RISES 1.01  /* a frame: 2 dB a second */
#define NEAR_HUM 0.25     /* 6 dB below the hum */
#define FULL_BELOW 4.0    /* the whole narrow step up to 6 dB above the hum */
#define LOWEST_FLOOR 1e-12

static void end_frame(struct gate *gate, double hum, double step, size_t frames)
{
    double mean = gate->energy / (double)frames;
    gate->energy = 0.0;
    if (step == 0.0)
        return;
    double risen = gate->floor * FLOOR_RISES;
    gate->last = mean;
    gate->share = mean > FULL_BELOW * hum ? FULL_BELOW * hum / mean : 1.0;
    gate->floor = mean < risen ? mean : risen;
    if (gate->floor < LOWEST_FLOOR)
        gate->floor = LOWEST_FLOOR;
}

/* phasors, turns: count real parts, then count imaginary parts; count is a multiple of 4, filled up with zeros.
 * hum: mean square of all lines together. steps: one for each `step_frames` of the recording; `at` is the frame of the recording that `in` begins with. */
EACH_CPU
void cc_hum(double *phasors, struct gate *gate, const double *turns, size_t count, const double *steps,
            size_t step_frames, double narrow, double hum, uint64_t at, const float *in, float *out, size_t frames)
{
    size_t place = at / step_frames, until = step_frames - at % step_frames;
    for (size_t n = 0; n < frames; n++) {
        double step = steps[place];
        if (step > narrow && gate->last > ABOVE_FLOOR * gate->floor && gate->last > NEAR_HUM * hum)
            step = narrow;
        if (step <= narrow)
            step *= gate->share;
        lanes total = {0.0, 0.0, 0.0, 0.0};
        for (size_t k = 0; k < count; k += LANES) {
            lanes re;
            memcpy(&re, phasors + k, sizeof re);
            total += re;
        }
        double left = step > 0.0 ? in[n] - ((total[0] + total[1]) + (total[2] + total[3])) : in[n];
        double more = step * left;
        lanes correction = {more, more, more, more};
        out[n] = (float)left;
        gate->energy += left * left;
        for (size_t k = 0; k < count; k += LANES) {
            lanes re, im, c, s;
            memcpy(&re, phasors + k, sizeof re);
            memcpy(&im, phasors + count + k, sizeof im);
            memcpy(&c, turns + k, sizeof c);
            memcpy(&s, turns + count + k, sizeof s);
            re += correction;
            lanes turned = re * c - im * s;
            im = re * s + im * c;
            memcpy(phasors + k, &turned, sizeof turned);
            memcpy(phasors + count + k, &im, sizeof im);
        }
        if (--until == 0) {
            end_frame(gate, hum, steps[place], step_frames);
            forget(phasors, 2 * count);
            place++;
            until = step_frames;
        }
    }
}
