/* Short-time spectra and back: a real Fourier transform as a complex one of half the length (Stockham's self-sorting
 * order, passes of 4, 2 and 3), over eight frames at a time. */
#include "spectral.h"

static void *zeros(size_t bytes)
{
    const size_t whole = (bytes + 63) / 64 * 64;
    void *memory = aligned_alloc(64, whole);
    if (memory)
        memset(memory, 0, whole);
    return memory;
}

static float *copied(const float *values, size_t count)
{
    float *copy = zeros(count * sizeof *copy);
    if (copy)
        memcpy(copy, values, count * sizeof *copy);
    return copy;
}

/* The next pass of a transform of which `left` is still to be done. */
static int radix_of(int left) { return left % 4 == 0 ? 4 : left % 2 == 0 ? 2 : 3; }

static size_t twiddles_of(int length)
{
    size_t count = 0;
    for (int left = length; left > 1; left /= radix_of(left))
        count += (size_t)(left / radix_of(left)) * 2 * (size_t)(radix_of(left) - 1);
    return count;
}

void cc_stft_free(stft *s)
{
    if (!s)
        return;
    free(s->window);
    free(s->twiddles);
    free(s->unpack);
    for (int i = 0; i < 4; i++)
        free(s->work[i]);
    free(s->power);
    free(s->gain);
    free(s->overlap);
    free(s);
}

stft *cc_stft_new(int size, int hop, const float *window, const float *twiddles, const float *unpack)
{
    stft *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->size = size;
    s->half = size / 2;
    s->hop = hop;
    s->stride = (s->half + BIN_STEP) / BIN_STEP * BIN_STEP;
    s->window = copied(window, (size_t)size);
    s->twiddles = copied(twiddles, twiddles_of(s->half));
    s->unpack = copied(unpack, 2 * (size_t)s->half);
    int whole = s->window && s->twiddles && s->unpack;
    for (int i = 0; i < 4; i++)
        whole = (s->work[i] = zeros((size_t)(s->half + 1) * sizeof(lanes))) && whole;
    s->power = zeros((size_t)LANES * (size_t)s->stride * sizeof(float));
    s->gain = zeros((size_t)LANES * (size_t)s->stride * sizeof(float));
    s->overlap = zeros((size_t)size * sizeof(float));
    if (whole && s->power && s->gain && s->overlap)
        return s;
    cc_stft_free(s);
    return NULL;
}

/* One pass each: `left` points are still to be transformed, `step` transforms lie between one another. */
static EACH_CPU void pass4(const lanes *xr, const lanes *xi, lanes *yr, lanes *yi, int left, int step, const float *w)
{
    const int quarter = left / 4 * step;
    for (int p = 0; p < left / 4; p++, w += 6)
        for (int q = 0; q < step; q++) {
            const int in = p * step + q, out = 4 * p * step + q;
            const lanes sr = xr[in] + xr[in + 2 * quarter], si = xi[in] + xi[in + 2 * quarter];
            const lanes dr = xr[in] - xr[in + 2 * quarter], di = xi[in] - xi[in + 2 * quarter];
            const lanes tr = xr[in + quarter] + xr[in + 3 * quarter], ti = xi[in + quarter] + xi[in + 3 * quarter];
            const lanes ur = xr[in + quarter] - xr[in + 3 * quarter], ui = xi[in + quarter] - xi[in + 3 * quarter];
            const lanes br = dr + ui, bi = di - ur, cr = sr - tr, ci = si - ti, er = dr - ui, ei = di + ur;
            yr[out] = sr + tr;
            yi[out] = si + ti;
            yr[out + step] = w[0] * br - w[1] * bi;
            yi[out + step] = w[0] * bi + w[1] * br;
            yr[out + 2 * step] = w[2] * cr - w[3] * ci;
            yi[out + 2 * step] = w[2] * ci + w[3] * cr;
            yr[out + 3 * step] = w[4] * er - w[5] * ei;
            yi[out + 3 * step] = w[4] * ei + w[5] * er;
        }
}

static EACH_CPU void pass3(const lanes *xr, const lanes *xi, lanes *yr, lanes *yi, int left, int step, const float *w)
{
    const int third = left / 3 * step;
    for (int p = 0; p < left / 3; p++, w += 4)
        for (int q = 0; q < step; q++) {
            const int in = p * step + q, out = 3 * p * step + q;
            const lanes tr = xr[in + third] + xr[in + 2 * third], ti = xi[in + third] + xi[in + 2 * third];
            const lanes ur = 0.866025404f * (xr[in + third] - xr[in + 2 * third]);
            const lanes ui = 0.866025404f * (xi[in + third] - xi[in + 2 * third]);
            const lanes mr = xr[in] - 0.5f * tr, mi = xi[in] - 0.5f * ti;
            const lanes br = mr + ui, bi = mi - ur, cr = mr - ui, ci = mi + ur;
            yr[out] = xr[in] + tr;
            yi[out] = xi[in] + ti;
            yr[out + step] = w[0] * br - w[1] * bi;
            yi[out + step] = w[0] * bi + w[1] * br;
            yr[out + 2 * step] = w[2] * cr - w[3] * ci;
            yi[out + 2 * step] = w[2] * ci + w[3] * cr;
        }
}

static EACH_CPU void pass2(const lanes *xr, const lanes *xi, lanes *yr, lanes *yi, int left, int step, const float *w)
{
    const int other = left / 2 * step;
    for (int p = 0; p < left / 2; p++, w += 2)
        for (int q = 0; q < step; q++) {
            const int in = p * step + q, out = 2 * p * step + q;
            const lanes dr = xr[in] - xr[in + other], di = xi[in] - xi[in + other];
            yr[out] = xr[in] + xr[in + other];
            yi[out] = xi[in] + xi[in + other];
            yr[out + step] = w[0] * dr - w[1] * di;
            yi[out + step] = w[0] * di + w[1] * dr;
        }
}

/* Transforms work[0], work[1] (real, imaginary); tells which of work holds the real parts: 0 or 2. */
static int transform(stft *s)
{
    const float *w = s->twiddles;
    int from = 0;
    for (int left = s->half, step = 1, radix; left > 1; left /= radix, step *= radix, from = 2 - from) {
        radix = radix_of(left);
        lanes *const *x = s->work + from, *const *y = s->work + 2 - from;
        (radix == 4 ? pass4 : radix == 3 ? pass3 : pass2)(x[0], x[1], y[0], y[1], left, step, w);
        w += left / radix * 2 * (radix - 1);
    }
    return from;
}

/* Samples beyond +120 dB of full scale are held there, so that all that follows is finite. */
static EACH_CPU void window_in(const stft *s, const float *samples, int frames)
{
    float *re = (float *)s->work[0], *im = (float *)s->work[1];
    for (int l = 0; l < frames; l++) {
        const float *x = samples + (ptrdiff_t)l * s->hop;
        for (int n = 0; n < s->half; n++) {
            re[n * LANES + l] = s->window[2 * n] * most(least(x[2 * n], 1e6f), -1e6f);
            im[n * LANES + l] = s->window[2 * n + 1] * most(least(x[2 * n + 1], 1e6f), -1e6f);
        }
    }
    for (int l = frames; l < LANES; l++)
        for (int n = 0; n < s->half; n++)
            re[n * LANES + l] = im[n * LANES + l] = 0.0f;
}

/* Spectra of real frames out of those of their halves; in place. */
static EACH_CPU void unpack(lanes *re, lanes *im, const float *w, int half)
{
    re[half] = re[0] - im[0];
    re[0] = re[0] + im[0];
    im[0] = im[half] = (lanes){0};
    for (int k = 1; k <= half / 2; k++) {
        const int m = half - k;
        const lanes ar = 0.5f * (re[k] + re[m]), ai = 0.5f * (im[k] - im[m]);
        const lanes br = 0.5f * (im[k] + im[m]), bi = 0.5f * (re[m] - re[k]);
        const lanes tr = w[2 * k] * br - w[2 * k + 1] * bi, ti = w[2 * k] * bi + w[2 * k + 1] * br;
        re[k] = ar + tr;
        im[k] = ai + ti;
        re[m] = ar - tr;
        im[m] = ti - ai;
    }
}

static EACH_CPU void pack(lanes *re, lanes *im, const float *w, int half)
{
    const lanes first = re[0], last = re[half];
    re[0] = 0.5f * (first + last);
    im[0] = 0.5f * (first - last);
    for (int k = 1; k <= half / 2; k++) {
        const int m = half - k;
        const lanes ar = 0.5f * (re[k] + re[m]), ai = 0.5f * (im[k] - im[m]);
        const lanes tr = 0.5f * (re[k] - re[m]), ti = 0.5f * (im[k] + im[m]);
        const lanes br = w[2 * k] * tr + w[2 * k + 1] * ti, bi = w[2 * k] * ti - w[2 * k + 1] * tr;
        re[k] = ar - bi;
        im[k] = ai + br;
        re[m] = ar + bi;
        im[m] = br - ai;
    }
}

static EACH_CPU void powers(const stft *s, int frames)
{
    const lanes *re = s->re, *im = s->im;
    for (int k = 0; k <= s->half; k++) {
        union { lanes v; float of[LANES]; } p;
        p.v = re[k] * re[k] + im[k] * im[k];
        for (int l = 0; l < frames; l++)
            s->power[l * s->stride + k] = p.of[l];
    }
}

static EACH_CPU void apply(const stft *s)
{
    for (int k = 0; k <= s->half; k++) {
        union { lanes v; float of[LANES]; } g;
        for (int l = 0; l < LANES; l++)
            g.of[l] = s->gain[l * s->stride + k];
        s->re[k] *= g.v;
        s->im[k] *= g.v;
    }
}

/* Adds the windowed frames to the overlap, and gives the samples that no later frame reaches. */
static EACH_CPU void window_out(stft *s, const lanes *even, const lanes *odd, float *samples, int frames)
{
    const float *re = (const float *)even, *im = (const float *)odd, scale = 1.0f / (float)s->half;
    for (int l = 0; l < frames; l++) {
        for (int n = 0; n < s->half; n++) {
            s->overlap[2 * n] += s->window[2 * n] * (scale * re[n * LANES + l]);
            s->overlap[2 * n + 1] += s->window[2 * n + 1] * (scale * im[n * LANES + l]);
        }
        memcpy(samples + (ptrdiff_t)l * s->hop, s->overlap, (size_t)s->hop * sizeof(float));
        memmove(s->overlap, s->overlap + s->hop, (size_t)(s->size - s->hop) * sizeof(float));
        memset(s->overlap + s->size - s->hop, 0, (size_t)s->hop * sizeof(float));
    }
}

/* Spectra and powers of `frames` frames (at most LANES), the first of which begins at `samples`. */
static void forward(stft *s, const float *samples, int frames)
{
    window_in(s, samples, frames);
    const int at = transform(s);
    s->re = s->work[at];
    s->im = s->work[at + 1];
    unpack(s->re, s->im, s->unpack, s->half);
    powers(s, frames);
}

/* Applies the gains, and writes frames * hop samples. */
static void inverse(stft *s, float *samples, int frames)
{
    apply(s);
    pack(s->re, s->im, s->unpack, s->half);
    /* Backwards is forwards with real and imaginary parts exchanged. */
    lanes *rest[2] = {s->work[0] == s->re ? s->work[2] : s->work[0], s->work[0] == s->re ? s->work[3] : s->work[1]};
    s->work[0] = s->im;
    s->work[1] = s->re;
    s->work[2] = rest[0];
    s->work[3] = rest[1];
    const int at = transform(s);
    window_out(s, s->work[at + 1], s->work[at], samples, frames);
}

EACH_CPU unsigned cc_stft_silent(const stft *s, const float *frame)
{
    const int quarter = s->size / 4;
    unsigned silent = 0;
    for (int part = 0; part < 4; part++) {
        uint32_t any = 0;
        for (int n = 0; n < quarter; n++) {
            uint32_t bits;
            memcpy(&bits, frame + part * quarter + n, sizeof bits);
            any |= bits & 0x7fffffffu; /* both zeros are zero */
        }
        silent |= (unsigned)!any << part;
    }
    return silent;
}

void cc_stft_run(stft *s, const float *samples, float *cleaned, int frames, frame_gain *gains, void *state)
{
    const int quarter = s->size / 4;
    for (int f = 0; f < frames; f += LANES) {
        const int some = frames - f < LANES ? frames - f : LANES;
        const float *in = samples + (ptrdiff_t)f * s->hop;
        forward(s, in, some);
        for (int l = 0; l < some; l++)
            gains(state, in + (ptrdiff_t)l * s->hop, s->power + l * s->stride, s->gain + l * s->stride);
        if (cleaned)
            inverse(s, cleaned + (ptrdiff_t)f * s->hop, some);
    }
    if (!cleaned)
        return;
    /* What a frame smears into digital silence is taken out again. */
    for (int f = 0; f < frames; f++) {
        const unsigned silent = cc_stft_silent(s, samples + (ptrdiff_t)f * s->hop);
        for (int part = 0; part * quarter < s->hop; part++)
            if (silent >> part & 1u)
                memset(cleaned + (ptrdiff_t)f * s->hop + part * quarter, 0, (size_t)quarter * sizeof(float));
    }
}

float *cc_rows_new(int rows, int stride)
{
    float *memory = zeros(((size_t)rows * (size_t)stride + BIN_STEP) * sizeof(float));
    return memory ? memory + BIN_STEP : NULL;
}

void cc_rows_free(float *rows)
{
    if (rows)
        free(rows - BIN_STEP);
}

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
    const float keep = 1.0f - 1.0f / f->memory;
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
    return floor_ln * (f->empty > 0.0f ? least(most(4.0f * noisy - 2.0f, 0.0f), 1.0f) : 1.0f);
}
