/* The RNNoise denoiser as Python sees it: streams, and which level of processor computes them. */
#include "rnnoise.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

typedef void rn_run(rn_stream *, const float *, float *, size_t);

rn_run cc_rnnoise_run_plain;
#if defined(__x86_64__)
rn_run cc_rnnoise_run_avx2, cc_rnnoise_run_avx_vnni, cc_rnnoise_run_avx512;
#endif

#if defined(__x86_64__)
/* Which kinds of registers the system saves when it changes tasks: bits of XCR0. */
static unsigned rn_saved(void) {
    unsigned a = 0, b = 0, c = 0, d = 0;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c >> 27 & 1)) return 0;
    __asm__ volatile("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
    return a;
}
#endif

/* Whether this processor has what a level needs. Asked of the processor itself: what zig brings for
 * __builtin_cpu_supports says no to everything. */
int cc_rnnoise_has(int level) {
    if (level == RN_PLAIN) return 1;
#if defined(__x86_64__)
    enum { AVX_SAVED = 0x6, AVX512_SAVED = 0xe6 };
    const unsigned avx2 = 1u << 5, avx512_f_dq_bw_vl = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31, avx512_vnni = 1u << 11;
    unsigned a = 0, b = 0, c = 0, d = 0, a1 = 0, b1 = 0, c1 = 0;
    if ((rn_saved() & AVX_SAVED) != AVX_SAVED || !__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(b & avx2)) return 0;
    if (level == RN_AVX2) return 1;
    if (level == RN_AVX_VNNI) return a >= 1 && __get_cpuid_count(7, 1, &a1, &b1, &c1, &d) && (a1 >> 4 & 1);
    return level == RN_AVX512 && (rn_saved() & AVX512_SAVED) == AVX512_SAVED &&
           (b & avx512_f_dq_bw_vl) == avx512_f_dq_bw_vl && (c & avx512_vnni);
#else
    return 0;
#endif
}

/* The highest level that this processor has. */
int cc_rnnoise_best(void) {
    int level = RN_LEVELS - 1;
    while (!cc_rnnoise_has(level)) level--;
    return level;
}

void cc_rnnoise_run(rn_stream *stream, int level, const float *in, float *out, size_t apart) {
#if defined(__x86_64__)
    switch (level) {
        case RN_AVX512: cc_rnnoise_run_avx512(stream, in, out, apart); return;
        case RN_AVX_VNNI: cc_rnnoise_run_avx_vnni(stream, in, out, apart); return;
        case RN_AVX2: cc_rnnoise_run_avx2(stream, in, out, apart); return;
        default: break;
    }
#else
    (void)level;
#endif
    cc_rnnoise_run_plain(stream, in, out, apart);
}

void cc_rnnoise_free(rn_stream *stream) { free(stream); }

/* A stream of up to RN_CHANNELS channels, at rest; NULL where memory is out. Model and tables must outlive it. */
rn_stream *cc_rnnoise_new(const rn_model *model, const rn_tables *tables, int channels, float mix,
                         int pitch_filter) {
    const size_t hop = tables->hop, turn = (size_t)4 * tables->near * RN_FRAMES;
    const size_t head = (sizeof(rn_stream) + 63) / 64 * 16; /* in floats, as what follows */
    const size_t shared = (size_t)RN_TOGETHER * RN_FRAMES * (RN_GATES + RN_BANDS + RN_UNITS / 2 + RN_UNITS / 4);
    const size_t filtered = (RN_FRAMES + 4) * hop + RN_MARGIN, original = (2 * RN_FRAMES + 2) * hop;
    const size_t half_rate = RN_HISTORY + RN_FRAMES * RN_NEW, bands = (size_t)2 * 3 * RN_BANDS * RN_FRAMES;
    const size_t each = 2 * turn + bands + filtered + original + half_rate + hop;
    const size_t whole = (head + shared + channels * (each + 64)) * sizeof(float);
    rn_stream *stream = aligned_alloc(64, (whole + 63) / 64 * 64);
    if (!stream) return NULL;
    memset(stream, 0, whole);
    float *at = (float *)stream + head;
    *stream = (rn_stream){.model = model, .tables = tables, .channels = channels, .mix = mix,
                          .pitch_filter = pitch_filter, .scratch = at};
    at += shared;
    for (int c = 0; c < channels; c++) {
        rn_channel *one = &stream->channel[c];
        one->spectrum = at;
        one->bands = one->spectrum + 2 * turn;
        one->filtered = one->bands + bands;
        one->original = one->filtered + filtered;
        one->half_rate = one->original + original;
        one->overlap = one->half_rate + half_rate;
        at += (each + 15) / 16 * 16;
        memset(one->conv1_out, 127, 2 * RN_CONV); /* zero, as activations are kept */
    }
    return stream;
}

/* What the last call found for a channel: gains that the network gave, before smoothing, for each frame that was not
 * silent (RN_FRAMES x RN_BANDS at most), and which were not. Gives how many. */
int cc_rnnoise_gains(const rn_stream *stream, int channel, float *gains, uint8_t *active) {
    const rn_channel *one = &stream->channel[channel];
    memcpy(gains, one->raw_gains, sizeof one->raw_gains);
    memcpy(active, one->active, sizeof one->active);
    return one->count;
}
