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
    cc_rows_free(s->power);
    free(s->gain);
    free(s->frames);
    free(s->overlap);
    free(s);
}

stft *cc_stft_new(int size, const float *window, const float *twiddles, const float *unpack)
{
    stft *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->size = size;
    s->half = size / 2;
    s->hop = size / 2;
    s->stride = (s->half + BIN_STEP) / BIN_STEP * BIN_STEP;
    s->window = copied(window, (size_t)size);
    s->twiddles = copied(twiddles, twiddles_of(s->half));
    s->unpack = copied(unpack, 2 * (size_t)s->half);
    int whole = s->window && s->twiddles && s->unpack;
    for (int i = 0; i < 4; i++)
        whole = (s->work[i] = zeros((size_t)(s->half + 1) * sizeof(lanes))) && whole;
    s->power = cc_rows_new(LANES, s->stride);
    s->gain = zeros((size_t)LANES * (size_t)s->stride * sizeof(float));
    s->frames = zeros((size_t)LANES * (size_t)size * sizeof(float));
    s->overlap = zeros((size_t)s->hop * sizeof(float));
    if (whole && s->power && s->gain && s->frames && s->overlap)
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

#define EVEN_ODD(a, b) __builtin_shufflevector(a, b, 0, 8, 2, 10, 4, 12, 6, 14), \
                       __builtin_shufflevector(a, b, 1, 9, 3, 11, 5, 13, 7, 15)
#define PAIRS(a, b) __builtin_shufflevector(a, b, 0, 1, 8, 9, 4, 5, 12, 13), \
                    __builtin_shufflevector(a, b, 2, 3, 10, 11, 6, 7, 14, 15)
#define HALVES(a, b) __builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11), \
                     __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15)

/* Rows become columns; in place. */
static inline __attribute__((always_inline)) void transpose(lanes v[LANES])
{
    const lanes a[] = {EVEN_ODD(v[0], v[1]), EVEN_ODD(v[2], v[3]), EVEN_ODD(v[4], v[5]), EVEN_ODD(v[6], v[7])};
    const lanes b[] = {PAIRS(a[0], a[2]), PAIRS(a[1], a[3]), PAIRS(a[4], a[6]), PAIRS(a[5], a[7])};
    const lanes c[] = {HALVES(b[0], b[4]), HALVES(b[2], b[6]), HALVES(b[1], b[5]), HALVES(b[3], b[7])};
    v[0] = c[0];
    v[4] = c[1];
    v[1] = c[2];
    v[5] = c[3];
    v[2] = c[4];
    v[6] = c[5];
    v[3] = c[6];
    v[7] = c[7];
}

/* Samples beyond +120 dB of full scale are held there, and what is no number is 0: all that follows is finite. */
static inline __attribute__((always_inline)) void hold(lanes *v)
{
    const lanes most_of = (lanes){0} + 1e6f, least_of = -most_of;
    const lane_masks below = *v < most_of, above = *v > least_of;
    const lane_masks held = ((lane_masks)*v & below & above) | ((lane_masks)most_of & above & ~below)
        | ((lane_masks)least_of & below & ~above);
    *v = (lanes)held;
}

static EACH_CPU void window_in(const stft *s, const float *samples, int frames)
{
    for (int n = 0; n < s->size; n += LANES) {
        lanes v[LANES] = {{0}};
        for (int l = 0; l < frames; l++)
            memcpy(&v[l], samples + (ptrdiff_t)l * s->hop + n, sizeof v[l]);
        transpose(v);
        for (int j = 0; j < LANES; j++) {
            hold(&v[j]);
            s->work[j % 2][(n + j) / 2] = s->window[n + j] * v[j];
        }
    }
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

static EACH_CPU void powers(const stft *s)
{
    const lanes *re = s->re, *im = s->im;
    for (int k = 0; k < s->half; k += LANES) {
        lanes v[LANES];
        for (int j = 0; j < LANES; j++)
            v[j] = re[k + j] * re[k + j] + im[k + j] * im[k + j];
        transpose(v);
        for (int l = 0; l < LANES; l++)
            memcpy(s->power + l * s->stride + k, &v[l], sizeof v[l]);
    }
    const lanes last = re[s->half] * re[s->half];
    for (int l = 0; l < LANES; l++)
        s->power[l * s->stride + s->half] = last[l];
}

static EACH_CPU void apply(const stft *s)
{
    for (int k = 0; k < s->half; k += LANES) {
        lanes v[LANES];
        for (int l = 0; l < LANES; l++)
            memcpy(&v[l], s->gain + l * s->stride + k, sizeof v[l]);
        transpose(v);
        for (int j = 0; j < LANES; j++) {
            s->re[k + j] *= v[j];
            s->im[k + j] *= v[j];
        }
    }
    for (int l = 0; l < LANES; l++)
        s->re[s->half][l] *= s->gain[l * s->stride + s->half];
}

/* Adds the windowed frames to the overlap, and gives the samples that no later frame reaches. */
static EACH_CPU void window_out(stft *s, const lanes *even, const lanes *odd, float *samples, int frames)
{
    const float scale = 1.0f / (float)s->half;
    float *restrict frame = s->frames;
    for (int n = 0; n < s->size; n += LANES) {
        lanes v[LANES];
        for (int j = 0; j < LANES; j++)
            v[j] = scale * s->window[n + j] * (j % 2 ? odd : even)[(n + j) / 2];
        transpose(v);
        for (int l = 0; l < LANES; l++)
            memcpy(frame + l * s->size + n, &v[l], sizeof v[l]);
    }
    for (int l = 0; l < frames; l++, frame += s->size, samples += s->hop)
        for (int n = 0; n < s->hop; n++) {
            samples[n] = s->overlap[n] + frame[n];
            s->overlap[n] = frame[s->hop + n];
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
    powers(s);
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
