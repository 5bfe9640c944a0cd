/* The network: layer after layer over the frames of several channels, so that each load of weights serves many. Only
 * the recurrent products go frame by frame, and their weights (442 kB) stay in the processor's second cache meanwhile.
 * Included by each level. */
#include "rnnoise.h"

/* tanh: a quotient of polynomials, clamped where it is 1, fitted for the least greatest error: 5.5e-5, a 70th of what the
 * 8 bits of an activation resolve. By as much it may leave -1 to 1. */
static inline float rn_tanh(float x) {
    x = x < 4.92322f ? x : 4.92322f;
    x = x > -4.92322f ? x : -4.92322f;
    const float s = x * x;
    return x * (1.0f + s * (0.102814f + s * 0.00068222749f)) / (1.0f + s * (0.43590037f + s * 0.012937786f));
}

/* Sigmoid, from 0 to 1. */
static inline float rn_share(float x) {
    float y = 0.5f + 0.5f * rn_tanh(0.5f * x);
    y = y < 1.0f ? y : 1.0f;
    return y > 0.0f ? y : 0.0f;
}

/* -1 to 1 in steps of 1/127, from 0 to 254. */
static inline uint8_t rn_quantize(float x) { return (uint8_t)(int32_t)(127.5f + 127.0f * x); }

/* -1 to 1 in steps of 1/4096. */
static inline int16_t rn_refine(float x) {
    return (int16_t)((int32_t)((float)RN_UNIT_STEPS * x + ((float)RN_UNIT_STEPS + 0.5f)) - RN_UNIT_STEPS);
}

/* First layer: three frames of features to 128 outputs. */
static void rn_conv1(const rn_wide_layer *layer, const int16_t *features, int n, int32_t *sums, uint8_t *out) {
    memset(sums, 0, sizeof(int32_t) * RN_CONV * n);
    rn_wide(layer->weights, (3 * RN_FEATURES + 1) / 2, RN_CONV, features, RN_FEATURES, n, sums);
    for (int r = 0; r < n; r++) {
        const int32_t *restrict from = sums + (size_t)r * RN_CONV;
        const float *restrict scale = layer->scale, *restrict bias = layer->bias;
        uint8_t *restrict to = out + (size_t)r * RN_CONV;
        for (int i = 0; i < RN_CONV; i++) to[i] = rn_quantize(rn_tanh((float)from[i] * scale[i] + bias[i]));
    }
}

/* Activations of the second layer from its sums, in 8 and in 16 bits. */
static void rn_conv2(const rn_layer *layer, const int32_t *restrict sums, uint8_t *restrict out, int16_t *restrict fine) {
    const float *restrict scale = layer->scale, *restrict bias = layer->bias;
    for (int i = 0; i < RN_UNITS; i++) {
        float x = rn_tanh((float)sums[i] * scale[i] + bias[i]);
        out[i] = rn_quantize(x);
        fine[i] = rn_refine(x);
    }
}

/* A step of 64 gated recurrent units from `i` on, of one channel. The sums of the input are those of all gates, the sums
 * of the state three times 64: update, reset, candidate. Of the former two, scales and diagonal are halved, since a
 * sigmoid is a tanh of the half, and the input's bias is half of both. */
static inline void rn_gate(const rn_layer *in, const rn_layer *re, const float *restrict diagonal, int i,
                           const int32_t *restrict from_input, const int32_t *restrict from_state,
                           float *restrict state, uint8_t *restrict out, int16_t *restrict fine) {
    enum { R = RN_UNITS, H = 2 * RN_UNITS };
    const float *restrict si = in->scale + i, *restrict bi = in->bias + i;
    const float *restrict sr = re->scale + i, *restrict br = re->bias + H + i, *restrict d = diagonal + i;
    from_input += i;
    for (int u = 0; u < 64; u++) {
        float s = state[i + u];
        float z = (float)from_input[u] * si[u] + (float)from_state[u] * sr[u] + (bi[u] + d[u] * s);
        float r = (float)from_input[R + u] * si[R + u] + (float)from_state[64 + u] * sr[R + u] +
                  (bi[R + u] + d[R + u] * s);
        float h = (float)from_state[128 + u] * sr[H + u] + (br[u] + d[H + u] * s);
        z = 0.5f + 0.5f * rn_tanh(z);
        r = 0.5f + 0.5f * rn_tanh(r);
        h = rn_tanh((float)from_input[H + u] * si[H + u] + bi[H + u] + h * r);
        s = h + z * (s - h);
        state[i + u] = s;
        out[i + u] = rn_quantize(s);
        fine[i + u] = rn_refine(s);
    }
}

/* A recurrent layer over all frames of the channels, which come with those of the most frames first. `rows` has the
 * layer's input, one row of 384 for each frame, channel after channel; its output takes that place. */
static void rn_recurrent(const rn_model *model, int layer, rn_channel **channels, int n, uint8_t *rows, int16_t *fine,
                         int32_t *products, int total) {
    const rn_layer *in = &model->input[layer], *re = &model->recurrent[layer];
    uint8_t turns[2][RN_TOGETHER][RN_UNITS] __attribute__((aligned(64)));
    int32_t from_state[RN_TOGETHER][3 * 64] __attribute__((aligned(64)));
    rn_product(in, RN_GATES, rows, RN_UNITS, total, products);
    for (int c = 0; c < n; c++)
        for (int i = 0; i < RN_UNITS; i++) turns[0][c][i] = rn_quantize(channels[c]->state[layer][i]);
    for (int t = 0; t < channels[0]->count; t++) {
        uint8_t(*now)[RN_UNITS] = turns[t % 2], (*next)[RN_UNITS] = turns[(t + 1) % 2];
        int together = 0;
        while (together < n && t < channels[together]->count) together++;
        for (int i = 0; i < RN_UNITS; i += 64) {
            for (int gate = 0; gate < 3; gate++)
                rn_block(re, gate * RN_UNITS + i, now[0], RN_UNITS, together, from_state[0] + 64 * gate, 3 * 64);
            for (int c = 0, row = t; c < together; row += channels[c]->count, c++)
                rn_gate(in, re, model->diagonal[layer], i, products + (size_t)row * RN_GATES, from_state[c],
                        channels[c]->state[layer], next[c], fine + (size_t)row * RN_UNITS);
        }
        for (int c = 0, row = t; c < together; row += channels[c]->count, c++)
            memcpy(rows + (size_t)row * RN_UNITS, next[c], RN_UNITS);
    }
}

/* Gains of all frames that are not silent, of up to RN_TOGETHER channels, from their features. */
static void rn_network(const rn_model *model, rn_channel **channels, int n, float *scratch) {
    int total = 0;
    for (int c = 0; c < n; c++) total += channels[c]->count;
    if (total == 0) return;
    const size_t room = RN_TOGETHER * RN_FRAMES;
    int32_t *products = (int32_t *)scratch, *sums = products + room * RN_GATES;
    int16_t *fine = (int16_t *)(sums + room * RN_BANDS);
    uint8_t *rows = (uint8_t *)(fine + room * RN_UNITS);

    for (int c = 0, row = 0; c < n; row += channels[c]->count, c++) {
        rn_channel *one = channels[c];
        rn_conv1(&model->conv1, one->features, one->count, products, one->conv1_out + 2 * RN_CONV);
        rn_product(&model->conv2, RN_UNITS, one->conv1_out, RN_CONV, one->count, products);
        for (int f = 0; f < one->count; f++)
            rn_conv2(&model->conv2, products + (size_t)f * RN_UNITS, rows + (size_t)(row + f) * RN_UNITS,
                     fine + (size_t)(row + f) * RN_UNITS);
        memmove(one->features, one->features + (size_t)one->count * RN_FEATURES, 2 * RN_FEATURES * sizeof(int16_t));
        memmove(one->conv1_out, one->conv1_out + (size_t)one->count * RN_CONV, 2 * RN_CONV);
    }
    memset(sums, 0, sizeof(int32_t) * RN_BANDS * total);
    rn_wide(model->gains[0].weights, RN_UNITS / 2, RN_BANDS, fine, RN_UNITS, total, sums);
    for (int layer = 0; layer < 3; layer++) {
        rn_recurrent(model, layer, channels, n, rows, fine, products, total);
        rn_wide(model->gains[layer + 1].weights, RN_UNITS / 2, RN_BANDS, fine, RN_UNITS, total, sums);
    }
    const float *scale = model->gains[0].scale, *bias = model->gains[0].bias;
    for (int c = 0, row = 0; c < n; row += channels[c]->count, c++)
        for (int f = 0; f < channels[c]->count; f++)
            for (int b = 0; b < RN_BANDS; b++)
                channels[c]->raw_gains[f][b] = rn_share((float)sums[(size_t)(row + f) * RN_BANDS + b] * scale[b] + bias[b]);
}
