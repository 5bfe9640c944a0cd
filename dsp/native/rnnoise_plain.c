/* RNNoise for any processor. */
#define RN_LEVEL RN_PLAIN
#define RN_RUN cc_rnnoise_run_plain
#include "rnnoise_level.h"
