/* The network: layer after layer over the frames of several channels, so that each load of weights serves many. Only
 * the recurrent products go frame by frame, and their weights (442 kB) stay in the processor's second cache meanwhile.
 * Included by each level. */
#include "rnnoise.h"

/* tanh by the continued fraction of J. H. Lambert (x / (1 + x^2 / (3 + x^2 / (5 + ...))), seven levels), clamped where it
 * reaches 1; error under 1e-4, a 40th of what the 8 bits of an activation resolve. */
static inline float rn_tanh(float x) {
    x = x < 4.97f ? x : 4.97f;
    x = x > -4.97f ? x : -4.97f;
    float s = x * x;
    float over = x * (135135.0f + s * (17325.0f + s * (378.0f + s)));
    float under = 135135.0f + s * (62370.0f + s * (3150.0f + s * 28.0f));
    float y = over / under;
    y = y < 1.0f ? y : 1.0f;
    return y > -1.0f ? y : -1.0f;
}

static inline float rn_sigmoid(float x) { return 0.5f + 0.5f * rn_tanh(0.5f * x); }

/* -1 to 1 in steps of 1/127, from 0 to 254. */
static inline uint8_t rn_quantize(float x) { return (uint8_t)(int32_t)(127.5f + 127.0f * x); }

/* First layer, float: 195 inputs (three frames of features) to 128 outputs. */
static void rn_conv1(const rn_model *model, const float *features, int n, uint8_t *out) {
    enum { INPUTS = 3 * RN_FEATURES, WIDE = 4 };
    for (int o = 0; o < RN_CONV; o += 8 * WIDE)
        for (int r = 0; r < n; r += 2) {
            int second = r + 1 < n; /* an odd last row is computed twice rather than apart */
            const float *x = features + (size_t)r * RN_FEATURES, *y = x + (second ? RN_FEATURES : 0);
            rn_vec a[WIDE], b[WIDE];
            for (int v = 0; v < WIDE; v++) a[v] = b[v] = *(const rn_vec_any *)(model->conv1_bias + o + 8 * v);
            for (int i = 0; i < INPUTS; i++)
                for (int v = 0; v < WIDE; v++) {
                    rn_vec w = *(const rn_vec_any *)(model->conv1 + (size_t)i * RN_CONV + o + 8 * v);
                    a[v] += w * x[i];
                    b[v] += w * y[i];
                }
            float sums[2][8 * WIDE];
            memcpy(sums[0], a, sizeof a);
            memcpy(sums[1], b, sizeof b);
            for (int row = 0; row <= second; row++)
                for (int i = 0; i < 8 * WIDE; i++)
                    out[(size_t)(r + row) * RN_CONV + o + i] = rn_quantize(rn_tanh(sums[row][i]));
        }
}

/* Adds a layer's share of the 32 gains, before their sigmoid. */
static void rn_gains(const rn_model *model, int layer, const float *rows, int n, float *sums) {
    const float *weights = model->gains + (size_t)layer * RN_UNITS * RN_BANDS;
    for (int r = 0; r < n; r += 2) {
        int other = r + 1 < n ? 1 : 0;
        const float *x = rows + (size_t)r * RN_UNITS, *y = x + other * RN_UNITS;
        float *first = sums + (size_t)r * RN_BANDS, *second = first + other * RN_BANDS;
        rn_vec a[4], b[4];
        for (int v = 0; v < 4; v++) {
            a[v] = *(const rn_vec_any *)(first + 8 * v);
            b[v] = *(const rn_vec_any *)(second + 8 * v);
        }
        for (int i = 0; i < RN_UNITS; i++)
            for (int v = 0; v < 4; v++) {
                rn_vec w = *(const rn_vec_any *)(weights + (size_t)i * RN_BANDS + 8 * v);
                a[v] += w * x[i];
                b[v] += w * y[i];
            }
        for (int v = 0; v < 4; v++) {
            *(rn_vec_any *)(second + 8 * v) = b[v];
            *(rn_vec_any *)(first + 8 * v) = a[v];
        }
    }
}

/* One step of a gated recurrent unit for one channel, from the integer products of its input and of its state. */
static void rn_gate(const rn_layer *in, const rn_layer *re, const float *diagonal, const int32_t *restrict from_input,
                    const int32_t *restrict from_state, float *restrict state, float *restrict out,
                    uint8_t *restrict quantized) {
    const float *restrict si = in->scale, *restrict bi = in->bias, *restrict sr = re->scale, *restrict br = re->bias;
    const float *restrict d = diagonal;
    for (int i = 0; i < RN_UNITS; i++) {
        const int j = i + RN_UNITS, k = i + 2 * RN_UNITS;
        float s = state[i];
        float z = (float)from_input[i] * si[i] + bi[i] + ((float)from_state[i] * sr[i] + br[i] + d[i] * s);
        float r = (float)from_input[j] * si[j] + bi[j] + ((float)from_state[j] * sr[j] + br[j] + d[j] * s);
        float h = (float)from_state[k] * sr[k] + br[k] + d[k] * s;
        z = rn_sigmoid(z);
        h = rn_tanh((float)from_input[k] * si[k] + bi[k] + h * rn_sigmoid(r));
        s = z * s + (1.0f - z) * h;
        state[i] = s;
        out[i] = s;
        quantized[i] = rn_quantize(s);
    }
}

/* A recurrent layer over all frames of the channels, which come with those of the most frames first. `rows` has the
 * layer's input, one row of 384 for each frame, channel after channel; its output takes that place. */
static void rn_recurrent(const rn_model *model, int layer, rn_channel **channels, int n, uint8_t *rows, float *out,
                         int32_t *products, int total) {
    const rn_layer *in = &model->input[layer], *re = &model->recurrent[layer];
    uint8_t now[RN_TOGETHER * RN_UNITS] __attribute__((aligned(64)));
    int32_t from_state[RN_TOGETHER * RN_GATES] __attribute__((aligned(64)));
    rn_product(in, RN_GATES, rows, RN_UNITS, total, products);
    for (int c = 0; c < n; c++)
        for (int i = 0; i < RN_UNITS; i++) now[c * RN_UNITS + i] = rn_quantize(channels[c]->state[layer][i]);
    for (int t = 0; t < channels[0]->count; t++) {
        int together = 0;
        while (together < n && t < channels[together]->count) together++;
        rn_product(re, RN_GATES, now, RN_UNITS, together, from_state);
        for (int c = 0, row = t; c < together; row += channels[c]->count, c++) {
            rn_gate(in, re, model->diagonal[layer], products + (size_t)row * RN_GATES,
                    from_state + (size_t)c * RN_GATES, channels[c]->state[layer], out + (size_t)row * RN_UNITS,
                    now + (size_t)c * RN_UNITS);
            memcpy(rows + (size_t)row * RN_UNITS, now + (size_t)c * RN_UNITS, RN_UNITS);
        }
    }
}

/* Gains of all frames that are not silent, of up to RN_TOGETHER channels, from their features. */
static void rn_network(const rn_model *model, rn_channel **channels, int n, float *scratch) {
    int total = 0;
    for (int c = 0; c < n; c++) total += channels[c]->count;
    if (total == 0) return;
    const int room = RN_TOGETHER * RN_FRAMES;
    int32_t *products = (int32_t *)scratch;
    float *out = scratch + (size_t)room * RN_GATES, *sums = out + (size_t)room * RN_UNITS;
    uint8_t *rows = (uint8_t *)(sums + (size_t)room * RN_BANDS);

    for (int c = 0, row = 0; c < n; row += channels[c]->count, c++) {
        rn_channel *one = channels[c];
        rn_conv1(model, one->features, one->count, one->conv1_out + 2 * RN_CONV);
        rn_product(&model->conv2, RN_UNITS, one->conv1_out, RN_CONV, one->count, products + (size_t)row * RN_UNITS);
        memmove(one->features, one->features + (size_t)one->count * RN_FEATURES, 2 * RN_FEATURES * sizeof(float));
        memmove(one->conv1_out, one->conv1_out + (size_t)one->count * RN_CONV, 2 * RN_CONV);
    }
    for (int row = 0; row < total; row++) {
        const int32_t *restrict from = products + (size_t)row * RN_UNITS;
        float *restrict to = out + (size_t)row * RN_UNITS;
        for (int i = 0; i < RN_UNITS; i++) {
            to[i] = rn_tanh((float)from[i] * model->conv2.scale[i] + model->conv2.bias[i]);
            rows[(size_t)row * RN_UNITS + i] = rn_quantize(to[i]);
        }
        memcpy(sums + (size_t)row * RN_BANDS, model->gains_bias, RN_BANDS * sizeof(float));
    }
    rn_gains(model, 0, out, total, sums);
    for (int layer = 0; layer < 3; layer++) {
        rn_recurrent(model, layer, channels, n, rows, out, products, total);
        rn_gains(model, layer + 1, out, total, sums);
    }
    for (int c = 0, row = 0; c < n; row += channels[c]->count, c++)
        for (int f = 0; f < channels[c]->count; f++)
            for (int b = 0; b < RN_BANDS; b++)
                channels[c]->raw_gains[f][b] = rn_sigmoid(sums[(size_t)(row + f) * RN_BANDS + b]);
}
