/* The greatest magnitude of a stretch, on and between its samples. */
#include "true_peak.h"

/* Looks from each of `frames` samples up to the next, and answers the greatest magnitude, or `most` where that is
 * greater. Reads x[-BEFORE] to x[frames + AFTER + LANES]. */
EACH_CPU float cc_true_peak(const struct interpolator *with, const float *x, size_t frames, float most) {
    for (size_t at = 0; at < frames; at += LANES) {
        if (frames - at >= MANY && in_reach(x + at, MANY) * with->bound <= most) {
            at += MANY - LANES;
            continue;
        }
        if (in_reach(x + at, LANES) * with->bound <= most)
            continue;
        lanes possible;
        bounds(with, x + at, &possible);
        size_t end = frames - at < LANES ? frames - at : LANES;
        for (size_t i = 0; i < end; i++)
            if (possible[i] > most) {
                float found = between(with, x + at + i);
                most = found > most ? found : most;
            }
    }
    return most;
}
