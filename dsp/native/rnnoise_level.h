/* A stream's next RN_FRAMES frames, compiled for one level of processor: RN_LEVEL and RN_RUN name it. */
#include "rnnoise.h"

#include <math.h>

#include "rnnoise_dot.h"
#include "rnnoise_network.h"
#include "rnnoise_pitch.h"
#include "rnnoise_spectrum.h"

/* High-pass of second order at 24 Hz, in the scale of 16-bit samples. What no telephone carries is clipped, so that no
 * square later leaves the range of a float. */
static void rn_highpass(const rn_tables *t, rn_channel *one, const float *in, float *out) {
    const int n = RN_FRAMES * t->hop;
    const double g = t->gain * 32768.0, first = -2.0 * g - t->pole[0] * g, second = g - t->pole[1] * g;
    double m0 = one->memory[0], m1 = one->memory[1];
    for (int i = 0; i < n; i++) {
        double x = in[i];
        x = x < 64.0 ? x : 64.0;
        x = x > -64.0 ? x : -64.0;
        out[i] = (float)(g * x + m0);
        double carry = m1 + first * x;
        m1 = second * x - t->pole[1] * m0;
        m0 = carry - t->pole[0] * m0;
    }
    const int gone = fabs(m0) < 1e-20 && fabs(m1) < 1e-20; /* silence decays to silence, not to denormal numbers */
    one->memory[0] = gone ? 0.0 : m0;
    one->memory[1] = gone ? 0.0 : m1;
}

/* Sums of `taps` samples from each of n samples on, weighted; n a multiple of 32. */
static void rn_fir(const float *x, const float *weights, int taps, int n, float *out) {
    for (int i = 0; i < n; i += 32) {
        rn_vec s[4] = {{0}, {0}, {0}, {0}};
        for (int j = 0; j < taps; j++)
            for (int v = 0; v < 4; v++) s[v] += *(const rn_vec_any *)(x + i + j + 8 * v) * weights[j];
        for (int v = 0; v < 4; v++) *(rn_vec_any *)(out + i + 8 * v) = s[v];
    }
}

/* The filtered signal at 24 kHz, one frame behind the input: interpolators look ahead. */
static void rn_to_24k(const rn_tables *t, rn_channel *one, float *scratch) {
    const int per = RN_FRAMES * RN_NEW / t->phases, start = 3 * t->hop;
    float *even = scratch, *odd = even + 3 * RN_FRAMES * RN_NEW, *phase = odd + 3 * RN_FRAMES * RN_NEW;
    float *out = one->half_rate + RN_HISTORY;
    if (t->stride == 2)
        for (int i = 0; i < (4 + RN_FRAMES) * t->hop / 2; i++) {
            even[i] = one->filtered[2 * i];
            odd[i] = one->filtered[2 * i + 1];
        }
    for (int p = 0; p < t->phases; p++) {
        const int from = start + t->base[p];
        const float *weights = t->to_24k + (size_t)p * t->taps;
        if (t->stride == 1) {
            rn_fir(one->filtered + from, weights, t->taps, per, phase);
        } else {
            rn_fir(from % 2 ? odd + from / 2 : even + from / 2, weights, (t->taps + 1) / 2, per, phase);
            rn_fir(from % 2 ? even + from / 2 + 1 : odd + from / 2, weights + (t->taps + 1) / 2, t->taps / 2, per,
                   phase + per);
            for (int i = 0; i < per; i++) phase[i] += phase[per + i];
        }
        for (int i = 0; i < per; i++) out[p + t->phases * i] = phase[i];
    }
}

/* Two frames ending `end` samples into the filtered signal, and the same a pitch period before, windowed, in a lane. The
 * period is rounded up to whole samples: the rest is a turn of each bin, see rn_bands. */
static void rn_load(const rn_tables *t, const float *filtered, int end, int period, float *restrict re,
                    float *restrict im) {
    const int n = 2 * t->hop, whole = (period + t->steps - 1) / t->steps;
    const float *restrict now = filtered + end - n, *restrict before = now - whole;
    for (int i = 0; i < n; i++) {
        re[i * RN_LANES] = now[i] * t->analysis[i];
        im[i * RN_LANES] = before[i] * t->analysis[i];
    }
}

static void rn_analyse(const rn_tables *t, rn_channel *one, float *spectrum, float *bands, float *scratch) {
    const size_t room = (size_t)2 * t->hop * RN_LANES;
    float *re = scratch, *im = re + room, *spare_re = im + room, *spare_im = spare_re + room;
    one->count = 0;
    for (int f = 0; f < RN_FRAMES; f++) {
        const float *first = one->filtered + (f + 4) * t->hop - 2 * RN_LENGTH / t->steps + t->edge_base;
        float edge = 0.0f;
        for (int i = 0; i < t->edge_taps; i++) edge += first[i] * t->edge[i];
        one->periods[f] = rn_period(one->half_rate + f * RN_NEW, edge, one);
    }
    for (int group = 0; group < RN_FRAMES / RN_LANES; group++) {
        rn_vec energy[RN_BANDS + 2][3];
        float features[RN_FEATURES][RN_LANES] __attribute__((aligned(32)));
        for (int l = 0; l < RN_LANES; l++) {
            const int f = group * RN_LANES + l;
            rn_load(t, one->filtered, (f + 4) * t->hop, one->periods[f], re + l, im + l);
        }
        rn_transform(t, &re, &im, &spare_re, &spare_im);
        rn_bands(t, re, im, one->periods + group * RN_LANES, spectrum + group * RN_LANES,
                 scratch + 4 * room, energy);
        rn_features(t, energy, one->periods + group * RN_LANES, bands + group * RN_LANES, features,
                    one->active + group * RN_LANES);
        for (int l = 0; l < RN_LANES; l++) {
            for (int b = 0; b < RN_BANDS; b++) one->energy[group * RN_LANES + l + 1][b] = energy[b + 1][0][l];
            if (!one->active[group * RN_LANES + l]) continue;
            int16_t *row = one->features + (size_t)(2 + one->count++) * RN_FEATURES;
            for (int i = 0; i < RN_FEATURES; i++) {
                float x = features[i][l];
                x = x < 63.9f ? x : 63.9f;
                x = x > -63.9f ? x : -63.9f;
                row[i] = (int16_t)((int32_t)((float)RN_FEATURE_STEPS * x + 32768.5f) - 32768);
            }
        }
    }
}

/* Gains do not fall by more than to 0.6 of the last, so that they end like a room does; where the energy rose since, to
 * as much less, so that a sudden noise does not pass. A silent frame passes as it is. */
static void rn_smooth(rn_channel *one, float plain[RN_FRAMES][RN_BANDS], float smooth[RN_FRAMES][RN_BANDS]) {
    for (int f = 0, row = 0; f < RN_FRAMES; f++) {
        if (!one->active[f]) {
            for (int b = 0; b < RN_BANDS; b++) plain[f][b] = smooth[f][b] = 1.0f;
            continue;
        }
        const float *raw = one->raw_gains[row++], *before = one->energy[f], *now = one->energy[f + 1];
        for (int b = 0; b < RN_BANDS; b++) {
            float held = 0.6f * one->last_gains[b], g = raw[b] > held ? raw[b] : held;
            float next = g * (before[b] + 0.001f) / (now[b] + 0.001f);
            one->last_gains[b] = next < 1.0f ? next : 1.0f;
            smooth[f][b] = g;
            plain[f][b] = raw[b];
        }
    }
    memcpy(one->energy[0], one->energy[RN_FRAMES], sizeof one->energy[0]);
}

/* The frames of the call before, whose gains are all known now. */
static void rn_synthesise(const rn_stream *stream, rn_channel *one, const float *spectrum, const float *bands, float *out) {
    const rn_tables *t = stream->tables;
    const size_t room = (size_t)2 * t->hop * RN_LANES;
    const float *from[2];
    float *re = stream->scratch, *im = re + room, *spare_re = im + room, *spare_im = spare_re + room;
    for (int group = 0; group < RN_FRAMES / RN_LANES; group += 2) {
        rn_inverse(t, stream->pitch_filter, spectrum, bands, one->gains, group, &re, &im, &spare_re, &spare_im,
                   stream->scratch + 4 * room);
        from[0] = re;
        from[1] = im;
        for (int f = 0; f < 2 * RN_LANES; f++) {
            const float *lane = from[f / RN_LANES] + f % RN_LANES;
            float *to = out + (size_t)(group * RN_LANES + f) * t->hop;
            for (int i = 0; i < t->hop; i++) {
                to[i] = one->overlap[i] + lane[i * RN_LANES] * t->synthesis[i];
                one->overlap[i] = lane[(t->hop + i) * RN_LANES] * t->synthesis[t->hop + i];
            }
        }
    }
    const float mix = stream->mix, share = 1.0f - mix;
    for (int i = 0; i < RN_FRAMES * t->hop; i++) out[i] = share * out[i] + mix * one->original[i];
}

/* Takes RN_FRAMES frames of every channel and gives as many, those of (RN_FRAMES + 2) frames before: channel after
 * channel, `apart` samples from one to the next. */
void RN_RUN(rn_stream *stream, const float *in, float *out, size_t apart) {
    const rn_tables *t = stream->tables;
    const int n = RN_FRAMES * t->hop;
    const size_t turn = (size_t)4 * t->near * RN_FRAMES, bands = (size_t)3 * RN_BANDS * RN_FRAMES;
    const int now = stream->calls % 2, before = 1 - now;
    rn_channel *busiest[RN_CHANNELS];
    for (int c = 0; c < stream->channels; c++) {
        rn_channel *one = &stream->channel[c];
        memmove(one->filtered, one->filtered + n, sizeof(float) * 4 * t->hop);
        memmove(one->original, one->original + n, sizeof(float) * (RN_FRAMES + 2) * t->hop);
        memmove(one->half_rate, one->half_rate + RN_FRAMES * RN_NEW, sizeof(float) * RN_HISTORY);
        memcpy(one->original + (RN_FRAMES + 2) * t->hop, in + c * apart, sizeof(float) * n);
        rn_highpass(t, one, in + c * apart, one->filtered + 4 * t->hop);
        rn_to_24k(t, one, stream->scratch);
        rn_analyse(t, one, one->spectrum + now * turn, one->bands + now * bands, stream->scratch);
        int place = c; /* those with most frames for the network first */
        for (; place > 0 && busiest[place - 1]->count < one->count; place--) busiest[place] = busiest[place - 1];
        busiest[place] = one;
    }
    for (int c = 0; c < stream->channels; c += RN_TOGETHER) {
        int together = stream->channels - c < RN_TOGETHER ? stream->channels - c : RN_TOGETHER;
        rn_network(stream->model, busiest + c, together, stream->scratch);
    }
    for (int c = 0; c < stream->channels; c++) {
        rn_channel *one = &stream->channel[c];
        float gains[2][RN_FRAMES][RN_BANDS];
        rn_smooth(one, gains[0], gains[1]);
        for (int i = 0; i < 2; i++) memcpy(one->gains[i][RN_FRAMES], gains[i][0], sizeof gains[i][0]);
        rn_synthesise(stream, one, one->spectrum + before * turn, one->bands + before * bands, out + c * apart);
        for (int i = 0; i < 2; i++) memcpy(one->gains[i], gains[i], sizeof gains[i]);
    }
    stream->calls++;
}
